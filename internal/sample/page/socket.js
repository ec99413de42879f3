// A small Socket.IO client: the default namespace of protocol 5, over the websocket transport of Engine.IO 4. It reconnects
// by itself with growing pauses, answers the server's pings, notices when they stay away, and matches acknowledgements.

// A packet begins with its Engine.IO type; a message (4) goes on with its Socket.IO type.
const engine = { open: '0', close: '1', ping: '2', pong: '3', message: '4' };
const packet = { connect: '0', disconnect: '1', event: '2', ack: '3', refused: '4' };

const firstPause = 400; // milliseconds, doubled with each failure
const longestPause = 5000;
const connectTimeout = 10_000; // until the server has accepted us
const askTimeout = 10_000;

export class Socket {
  // state is connecting, live, reconnecting, refused or closed.
  state = 'connecting';

  #address;
  #credentials;
  #handlers = new Map();
  #stateHandlers = [];
  #websocket = null;
  #silence = 0; // timer that fires when the server was silent for too long
  #allowedSilence = connectTimeout;
  #pause = 0; // timer of the next attempt
  #failures = 0;
  #pending = new Map(); // acknowledgements still to come, by their number
  #lastAsk = 0;

  // credentials is asked before every attempt, so that a reconnect carries a fresh token.
  constructor(address, credentials) {
    const url = new URL('/socket.io/?EIO=4&transport=websocket', address);
    url.protocol = url.protocol.replace('http', 'ws');
    this.#address = url;
    this.#credentials = credentials;
    addEventListener('online', () => this.#pause && this.#attempt());
    this.#attempt();
  }

  on(name, handler) {
    this.#handlers.set(name, handler);
  }

  onState(handler) {
    this.#stateHandlers.push(handler);
  }

  // emit sends an event, or drops it while there is no connection.
  emit(name, ...args) {
    if (this.state === 'live') this.#send(packet.event + JSON.stringify([name, ...args]));
  }

  // ask sends an event and resolves with the first argument of its acknowledgement.
  ask(name, ...args) {
    if (this.state !== 'live') return Promise.reject(new Error('There is no connection.'));
    const number = this.#lastAsk++;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#settle(number)?.reject(new Error(`The server did not answer ${name}.`)), askTimeout);
      this.#pending.set(number, { resolve, reject, timer });
      this.#send(packet.event + number + JSON.stringify([name, ...args]));
    });
  }

  close() {
    this.#enter('closed');
    clearTimeout(this.#pause);
    this.#websocket?.close();
  }

  async #attempt() {
    clearTimeout(this.#pause);
    this.#pause = 0;
    let auth;
    try {
      auth = await this.#credentials();
    } catch {
      this.#retry('reconnecting');
      return;
    }
    if (this.state === 'closed') return;
    const websocket = new WebSocket(this.#address);
    this.#websocket = websocket;
    this.#allowedSilence = connectTimeout;
    this.#heard();
    websocket.onmessage = ({ data }) => {
      if (websocket === this.#websocket && typeof data === 'string') this.#receive(data, auth);
    };
    websocket.onclose = () => {
      if (websocket === this.#websocket) this.#lost('reconnecting');
    };
  }

  #receive(data, auth) {
    this.#heard();
    switch (data[0]) {
      case engine.open: {
        const { pingInterval, pingTimeout } = JSON.parse(data.slice(1));
        this.#allowedSilence = pingInterval + pingTimeout;
        this.#heard();
        this.#send(packet.connect + JSON.stringify(auth));
        break;
      }
      case engine.ping:
        this.#websocket.send(engine.pong);
        break;
      case engine.close:
        this.#lost('reconnecting');
        break;
      case engine.message:
        this.#receivePacket(data[1], data.slice(2));
        break;
    }
  }

  #receivePacket(type, rest) {
    switch (type) {
      case packet.connect:
        this.#failures = 0;
        this.#enter('live');
        break;
      case packet.disconnect:
        this.#lost('reconnecting');
        break;
      case packet.refused:
        this.#lost('refused', JSON.parse(rest).message);
        break;
      case packet.event: {
        const [, number, body] = /^(\d*)(.*)$/s.exec(rest);
        const [name, ...args] = JSON.parse(body);
        this.#handlers.get(name)?.(...args);
        if (number) this.#send(packet.ack + number + '[]');
        break;
      }
      case packet.ack: {
        const [, number, body] = /^(\d+)(.*)$/s.exec(rest);
        this.#settle(Number(number))?.resolve(JSON.parse(body)[0]);
        break;
      }
    }
  }

  #send(text) {
    this.#websocket.send(engine.message + text);
  }

  #settle(number) {
    const waiting = this.#pending.get(number);
    this.#pending.delete(number);
    clearTimeout(waiting?.timer);
    return waiting;
  }

  #heard() {
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => this.#lost('reconnecting'), this.#allowedSilence);
  }

  #lost(state, reason) {
    clearTimeout(this.#silence);
    const websocket = this.#websocket;
    this.#websocket = null;
    websocket?.close();
    for (const number of [...this.#pending.keys()]) this.#settle(number).reject(new Error('The connection was lost.'));
    if (this.state !== 'closed') this.#retry(state, reason);
  }

  // The pauses are random between half and the whole, so that the tabs of a restarted server do not return all at once.
  #retry(state, reason) {
    const pause = Math.min(longestPause, firstPause * 2 ** this.#failures++) * (0.5 + Math.random() / 2);
    this.#enter(state, reason);
    this.#pause = setTimeout(() => this.#attempt(), pause);
  }

  #enter(state, reason) {
    this.state = state;
    for (const handler of this.#stateHandlers) handler(state, reason);
  }
}
