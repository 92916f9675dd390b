// npm socket.io, with bufferutil and without compression: `m` comes back, `p` goes to everybody else.

import { createServer } from 'node:http'
import { Server } from 'socket.io'

const [host, port] = process.argv[2].split(':')
const server = createServer()
const io = new Server(server, {
  serveClient: false,
  perMessageDeflate: false,
  httpCompression: false,
})

io.on('connection', (socket) => {
  socket.on('m', (text) => socket.emit('m', text))
  socket.on('p', (text) => socket.broadcast.emit('m', text))
  // The request of the handshake is not needed any more (docs, "Performance tuning").
  socket.conn.request = null
})

server.listen(Number(port), host, () => console.log(`http://${host}:${port}`))
