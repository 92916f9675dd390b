// The chat page: what people see of a Switchback session.

import { Switchback, TRANSPORTS } from './switchback.js';

const TRANSPORT_NAMES = { websocket: 'WebSocket', sse: 'SSE', longpoll: 'Long-poll' };
const GROUP = 5 * 60_000; // ms within which messages of one person form a group
const KEPT = 500; // messages on the page
const JOURNAL = 30; // lines of the journal

const $ = (id) => document.getElementById(id);
const query = new URLSearchParams(location.search);

let me = null;
let name = '';
const people = new Map(); // id → person
const pending = new Map(); // tag → {text, element}: said, but not yet seen to arrive
const mine = new Set(); // tags of all that this page has said
const seen = new Set(); // ids of the messages on the page
let unread = 0;
let following = true; // the messages are scrolled to the end

// --- The connection -----------------------------------------------------------------------------

const wanted = query.get('transport');
const connection = new Switchback('/rt', { transport: TRANSPORTS.includes(wanted) ? wanted : 'auto' });

function send(message) {
  try {
    connection.send(JSON.stringify(message));
    return true;
  } catch (error) {
    note(`Not sent: ${error.message}`);
    return false;
  }
}

const HANDLERS = {
  welcome({ you, people: list, messages }) {
    me = you;
    people.clear();
    for (const person of list) people.set(person.id, person);
    showPeople();
    for (const message of messages) showMessage(message);
  },

  person({ person }) {
    const before = people.get(person.id);
    people.set(person.id, person);
    showPeople();
    if (person.id === me) return;
    if (!before) showNotice(`${person.name} joined`);
    if (before && before.name !== person.name) showNotice(`${before.name} is now ${person.name}`);
  },

  gone({ id }) {
    const person = people.get(id);
    people.delete(id);
    showPeople();
    if (person && id !== me) showNotice(`${person.name} left`);
  },

  message({ message }) {
    showMessage(message);
  },

  refused({ tag, why }) {
    const said = pending.get(tag);
    if (said) {
      pending.delete(tag);
      said.element.classList.replace('pending', 'refused');
      said.element.append(element('p', 'why', why));
    } else {
      note(`The server refused: ${why}`);
    }
  },
};

connection.addEventListener('message', ({ data }) => {
  const message = JSON.parse(data);
  HANDLERS[message.type]?.(message);
});

// Whether the journal's last word is that the connection is down.
let down = false;

connection.addEventListener('state', () => {
  showState();
  const { name: state, transport, tries } = connection.state;
  if (state === 'reconnecting') down = true;
  if (state === 'reconnecting' && tries.length > 0) {
    note(`No transport works: ${tries.map((end) => `${label(end.kind)} ${end.message}`).join(', ')}`);
  } else if (state === 'reconnecting') {
    note('The connection was lost');
  } else if (state === 'open' && me === null) {
    note(`Open on ${label(transport)}`);
    down = false;
  } else if (state === 'open') {
    // Unless it was resumed, which has a line of its own.
    queueMicrotask(() => {
      if (down) note(`Open again on ${label(transport)}`);
      down = false;
    });
  }
});

connection.addEventListener('resumed', ({ detail }) => {
  down = false;
  note(`Resumed on ${label(detail.transport)}, nothing lost`);
});

connection.addEventListener('moved', ({ detail }) => {
  note(`Moved from ${label(detail.from)} to ${label(detail.to)}, nothing lost`);
});

connection.addEventListener('stayed', ({ detail }) => {
  note(`Stayed on ${label(detail.transport)} (${detail.why})`);
});

connection.addEventListener('anew', ({ detail }) => {
  note(`A new session has begun (the old one: ${detail.why})`);
  join();
  // The server knows a tag that it has seen, so that nothing is said twice.
  for (const [tag, { text }] of pending) send({ type: 'say', tag, text });
});

connection.addEventListener('close', ({ detail }) => {
  note(`Closed: ${detail.code} ${detail.reason}`);
});

// A page that comes back from the back/forward cache had to end its session when it left.
addEventListener('pageshow', (event) => event.persisted && location.reload());

// --- Who I am -----------------------------------------------------------------------------------

function join() {
  if (name) send({ type: 'join', name });
}

function askName() {
  const given = query.get('name') ?? sessionStorage.getItem('name');
  if (given) {
    name = given.slice(0, 32);
    join();
    return;
  }
  $('name').value = localStorage.getItem('name') ?? '';
  $('hello').showModal();
}

$('hello').addEventListener('cancel', (event) => event.preventDefault());

$('hello-form').addEventListener('submit', (event) => {
  name = $('name').value.trim();
  if (!name) {
    event.preventDefault();
    return;
  }
  sessionStorage.setItem('name', name);
  localStorage.setItem('name', name);
  join();
  $('text').focus();
});

// --- The switch ---------------------------------------------------------------------------------

$('switch').addEventListener('change', ({ target }) => {
  connection.transport = target.value;
  if (connection.state.name === 'open' && connection.state.transport !== target.value) {
    note(target.value === 'auto' ? 'Looking for the best transport…' : `Moving to ${label(target.value)}…`);
  }
});

function showState() {
  const { name: state, transport, since } = connection.state;
  const seconds = Math.floor((Date.now() - since) / 1000);
  const text = {
    connecting: () => 'Connecting…',
    open: () => `Open on ${label(transport)}`,
    reconnecting: () => (seconds < 2 ? 'Reconnecting…' : `Reconnecting since ${duration(seconds)}`),
    closed: () => 'Closed',
  }[state]();
  if ($('state-text').textContent !== text) $('state-text').textContent = text;
  $('state').dataset.state = state;
  for (const choice of $('switch').querySelectorAll('label')) {
    choice.toggleAttribute('data-live', choice.dataset.transport === transport && state === 'open');
  }
}

setInterval(showState, 1000);

// --- Saying something ---------------------------------------------------------------------------

$('composer').addEventListener('submit', (event) => {
  event.preventDefault();
  const text = $('text').value.trim();
  if (!text) return;
  const tag = crypto.getRandomValues(new Uint32Array(4)).join('-');
  if (!send({ type: 'say', tag, text })) return;
  $('text').value = '';
  mine.add(tag);
  const said = { from: me, name, text, at: Date.now(), tag };
  pending.set(tag, { text, element: append(said, true) });
  scrollDown();
});

$('text').addEventListener('keydown', (event) => {
  // `isComposing`: Enter then chooses a word of an input method.
  if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $('composer').requestSubmit();
  }
});

// --- Messages -----------------------------------------------------------------------------------

function showMessage(message) {
  if (seen.has(message.id)) return;
  seen.add(message.id);
  const said = pending.get(message.tag);
  if (said) {
    pending.delete(message.tag);
    said.element.classList.remove('pending');
    // It was said when the server heard it: here, after what others said before.
    setTime(said.element, message.at);
    place(said.element, message);
  } else {
    append(message, false);
    if (document.hidden) setUnread(unread + 1);
  }
}

function append(message, isPending) {
  const item = element('li', 'message');
  item.classList.toggle('mine', mine.has(message.tag));
  item.classList.toggle('pending', isPending);
  const byline = element('p', 'byline');
  byline.append(element('span', 'name', message.name), document.createElement('time'));
  item.append(avatar(message.name), byline, element('p', 'bubble', message.text));
  setTime(item, message.at);
  place(item, message);
  return item;
}

/** Puts a message at the end, but before what is still pending, and groups it. */
function place(item, { from, at }) {
  const list = $('messages');
  $('empty').hidden = true;
  Object.assign(item.dataset, { from, at });
  const waits = item.classList.contains('pending');
  list.insertBefore(item, waits ? null : list.querySelector('.message.pending'));
  for (const one of [item, item.nextElementSibling]) {
    if (!one?.classList.contains('message')) continue;
    const before = one.previousElementSibling;
    const same = before?.dataset.from === one.dataset.from && before.className !== 'notice';
    one.classList.toggle('first', !same || one.dataset.at - before.dataset.at > GROUP);
  }
  while (list.children.length > KEPT) list.children[1].remove(); // The first is the empty state.
  if (following) {
    scrollDown();
  } else {
    $('newer').hidden = false;
  }
}

function setTime(item, at) {
  const date = new Date(at);
  const time = item.querySelector('time');
  time.dateTime = date.toISOString();
  time.title = date.toLocaleString();
  time.textContent = date.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
}

function showNotice(text) {
  $('messages').insertBefore(element('li', 'notice', text), $('messages').querySelector('.pending'));
  if (following) scrollDown();
}

function scrollDown() {
  $('messages').scrollTop = $('messages').scrollHeight;
}

$('messages').addEventListener('scroll', () => {
  const { scrollHeight, scrollTop, clientHeight } = $('messages');
  following = scrollHeight - scrollTop - clientHeight < 40;
  if (following) $('newer').hidden = true;
});

new ResizeObserver(() => following && scrollDown()).observe($('messages'));

$('newer').addEventListener('click', scrollDown);

function setUnread(count) {
  unread = count;
  document.title = count > 0 ? `(${count}) Switchback chat` : 'Switchback chat';
}

document.addEventListener('visibilitychange', () => document.hidden || setUnread(0));

// --- People -------------------------------------------------------------------------------------

function showPeople() {
  const order = [...people.values()].sort((a, b) => (b.id === me) - (a.id === me) || a.id - b.id);
  $('count').textContent = order.length;
  $('people').replaceChildren(
    ...order.map((person) => {
      const item = document.createElement('li');
      item.toggleAttribute('data-away', person.transport === null);
      const who = element('span', 'name', person.name);
      who.title = person.name;
      const badge = element('span', 'badge', person.transport ? label(person.transport) : 'away');
      badge.dataset.transport = person.transport ?? 'away';
      item.append(avatar(person.name), who);
      if (person.id === me) item.append(element('span', 'you', 'you'));
      item.append(badge);
      return item;
    }),
  );
}

// --- Small parts --------------------------------------------------------------------------------

document.querySelector('.journal').addEventListener('toggle', () => {
  $('events').scrollTop = -$('events').scrollHeight; // It grows upwards.
});

/** A line for the journal; the latest is always in sight. */
function note(text) {
  const line = document.createElement('li');
  const time = element('time', '', new Date().toLocaleTimeString());
  line.append(time, text);
  $('events').append(line);
  if ($('events').children.length > JOURNAL) $('events').firstChild.remove();
  $('events').scrollTop = -$('events').scrollHeight; // It grows upwards.
  $('event').textContent = text;
  $('announcement').textContent = text;
}

function label(transport) {
  return TRANSPORT_NAMES[transport] ?? transport;
}

function duration(seconds) {
  return seconds < 120 ? `${seconds} s` : `${Math.floor(seconds / 60)} min`;
}

/** What people wrote gets into the page here, and only as text. */
function element(tag, className, text = '') {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

function avatar(of) {
  const words = of.split(/\s+/).filter(Boolean);
  const initials = words.slice(0, 2).map((word) => [...word][0]).join('');
  const made = element('span', 'avatar', initials.toUpperCase());
  let hash = 0;
  for (const character of of) hash = (Math.imul(hash, 31) + character.codePointAt(0)) >>> 0;
  made.style.setProperty('--hue', Math.round(hash * 137.5) % 360); // The golden angle, so that they differ.
  made.ariaHidden = 'true';
  return made;
}

$('switch').querySelector(`[value=${connection.transport}]`).checked = true;
showState();
askName();
