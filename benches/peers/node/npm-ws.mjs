// npm ws, with bufferutil as its documentation recommends, and without compression.

import { createServer } from 'node:http'
import { WebSocketServer } from 'ws'

const [host, port] = process.argv[2].split(':')
const server = createServer((_, response) => response.writeHead(404).end())
const sockets = new WebSocketServer({ server, perMessageDeflate: false, skipUTF8Validation: true })
const room = new Set()

sockets.on('connection', (socket, request) => {
  socket.on('error', () => {})
  switch (request.url) {
    case '/ws/room':
      room.add(socket)
      socket.on('close', () => room.delete(socket))
      break
    case '/ws/publish':
      socket.on('message', (data) => {
        for (const member of room) member.send(data, { binary: false })
      })
      break
    default:
      socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }))
  }
})

server.listen(Number(port), host, () => console.log(`http://${host}:${port}`))
