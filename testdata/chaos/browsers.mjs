// The browsers of the chaos test: real socket.io-clients that do what a good frontend does, and count what events bring them. The Go program speaks to
// this one in lines of JSON on stdin, each answered by a line on stdout; the end of stdin ends it.
//
// What a good frontend does: on connecting it enters its rooms, unless the connection was recovered, with `since`: the messages that it was told of last.
// Since deletes leave no row to be found by that, it then reads the ids of the room and takes away what is gone. On `resync` it reads the room anew. A join
// that fails for a reason that will pass is tried again.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const require = createRequire(new URL('../node/package.json', import.meta.url));
const { io } = require('socket.io-client');

const ackWait = 10_000; // until a join counts as unanswered
const retryWait = 500; // until it, or a read, is tried again
const readWait = 5_000; // for one read
const resyncWait = 500; // several resyncs within this are one
const maxSince = 300; // messages named in one
const maxExamples = 5;
const maxJournal = 20_000; // lines of what happened to one browser

const thoroughness = [null, 'ids', 'anew', 'first'];

const after = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const counter = (row) => Number(/^n=(\d+) /.exec(row.content)?.[1]);

// latest gives the newest of the messages that events brought, whole transactions of them, since their rows share an instant; where that is all of them, with
// the time from which on they are all, less what a transaction may take to commit.
function latest(told, opened) {
  const all = [...told].map(([id, updated_at]) => ({ id, updated_at })).sort((a, b) => (a.updated_at < b.updated_at ? 1 : -1));
  if (all.length <= maxSince) return [{ id: '', updated_at: opened }, ...all];
  const cut = all.filter((message) => message.updated_at > all[maxSince].updated_at);
  return cut.length > 0 ? cut : all;
}

class Browser {
  rooms = new Map(); // conversation -> { joined, opened: when, less the overlap, told: id -> updated_at of what events brought, or what was there on opening }
  rows = new Map(); // id -> { room, n }: what is shown
  gone = new Map(); // id -> { room, n, at }: of the last delete that was told, n being the state before it; a row that moved is deleted where it was
  got = new Map(); // id -> the n that an event brought last
  opened = new Map(); // id -> the n that was there when its room was opened
  count = { states: 0, events: 0, duplicated: 0, disordered: 0, told: 0, found: 0, connects: 0, recovered: 0, since: 0, resyncs: 0, fallbacks: 0 };
  last = ''; // what happened to the connection last
  examples = [];
  journal = []; // what happened, in lines, where that is wanted
  pending = 0;
  #reading = new Map(); // conversation -> how it is to be read once more, or null
  #resync = null;
  #epoch = 0; // of the connection

  constructor(settings, profile) {
    this.settings = settings;
    this.profile = profile;
    for (const room of profile.rooms) this.rooms.set(room, { joined: false, opened: '', told: new Map() });
    this.socket = io(profile.url, { forceNew: true, auth: { token: profile.token }, ...(profile.transports ? { transports: profile.transports } : {}) });
    this.socket.on('connect', () => this.connected());
    this.socket.on('disconnect', (reason) => {
      this.#epoch++;
      this.happened(`disconnected: ${reason}`);
    });
    this.socket.on('connect_error', (error) => this.happened(`connect_error: ${error.message}`));
    this.socket.on('new_message', (row) => this.seen(row, 'new_message'));
    this.socket.on('message_updated', (row) => this.seen(row, 'message_updated'));
    this.socket.on('message_deleted', (row) => this.deleted(row));
    this.socket.on('resync', () => this.resync());
  }

  happened(text) {
    this.last = `${new Date().toISOString()} ${text}`;
    this.write(text);
  }

  write(text) {
    if (this.settings.journal && this.journal.length < maxJournal) this.journal.push(`${new Date().toISOString()} ${text}`);
  }

  note(text) {
    if (this.examples.length < maxExamples) this.examples.push(`${new Date().toISOString()} ${text}`);
  }

  connected() {
    const epoch = ++this.#epoch;
    this.count.connects++;
    this.happened(`connected${this.socket.recovered ? ', recovered' : ''}`);
    if (this.socket.recovered) this.count.recovered++;
    for (const [id, room] of this.rooms) {
      if (!this.socket.recovered) room.joined = false;
      if (!room.joined) this.busy(this.enter(id, room, epoch));
    }
    if (this.profile.tenant && !this.socket.recovered) this.busy(this.enterTenant(epoch));
  }

  busy(promise) {
    this.pending++;
    promise.finally(() => this.pending--);
  }

  // enter joins a room, again and again until that succeeds or the connection is another.
  async enter(id, room, epoch) {
    let again = null; // what the last join named, where that could not be answered: events have come since
    while (epoch === this.#epoch) {
      const since = again ?? (this.settings.since && room.opened && room.told.size > 0 ? latest(room.told, room.opened) : null);
      this.write(`join ${id} since ${since ? since.map((message) => `${message.id.slice(-6)}@${message.updated_at}`).join(' ') : 'nothing'}`);
      let answer;
      try {
        answer = await this.socket.timeout(ackWait).emitWithAck('join_conversation', since ? { conversationId: id, since } : { conversationId: id });
      } catch (error) {
        this.happened(`join of ${id}: ${error.message}`);
        continue; // unanswered, or the connection is gone
      }
      if (epoch !== this.#epoch) return;
      this.write(`join ${id} answered ${JSON.stringify(answer)}`);
      if (answer.complete === false) {
        this.happened(`join of ${id} was not complete: ${answer.reason}`);
        if (answer.reason === 'unavailable') {
          again = since;
          await after(retryWait);
          continue;
        }
        this.count.fallbacks++;
        again = null;
        room.told.clear();
        room.opened = '';
        continue;
      }
      if (answer.success) {
        if (since) this.count.since++;
        room.joined = true;
        // Without anything seen before, the frontend loads the room as it does at first. A browser that does without since keeps what it has.
        await this.read(id, since || !this.settings.since ? 'ids' : 'first');
        return;
      }
      this.happened(`join of ${id}: ${answer.error}`);
      await after(retryWait);
    }
  }

  // enterTenant joins the tenant's room, beside those of its conversations: no row may come by both.
  async enterTenant(epoch) {
    while (epoch === this.#epoch) {
      try {
        const answer = await this.socket.timeout(ackWait).emitWithAck('join_distributor');
        this.write(`join of the tenant answered ${JSON.stringify(answer)}`);
        if (answer.success) return;
      } catch (error) {
        this.happened(`join of the tenant: ${error.message}`);
        continue;
      }
      await after(retryWait);
    }
  }

  // read compares a room with the database. Rows that are gone are taken away; how 'anew' shows the rows that are there as well, and 'first', as when a room
  // is opened, counts them as brought.
  async read(id, how) {
    if (this.#reading.has(id)) {
      const wanted = this.#reading.get(id);
      this.#reading.set(id, thoroughness.indexOf(how) > thoroughness.indexOf(wanted) ? how : wanted);
      return;
    }
    for (let now = how; now; now = this.#reading.get(id)) {
      this.#reading.set(id, null);
      await this.readOnce(id, now);
    }
    this.#reading.delete(id);
  }

  async readOnce(id, how) {
    for (;;) {
      const began = Date.now();
      const shown = [...this.rows].filter(([, row]) => row.room === id).map(([key]) => key);
      const url = `${this.settings.rest}/rest/v1/messages?select=id,content,updated_at&conversation_id=eq.${id}&limit=1000`;
      let rows;
      try {
        const response = await fetch(url, {
          headers: { apikey: this.settings.key, authorization: `Bearer ${this.profile.token}` },
          signal: AbortSignal.timeout(readWait),
        });
        if (!response.ok) throw new Error(`status ${response.status}`);
        rows = await response.json();
      } catch {
        await after(retryWait);
        continue;
      }
      const there = new Set(rows.map((row) => row.id));
      for (const key of shown) {
        if (there.has(key) || this.rows.get(key)?.room !== id) continue;
        this.rows.delete(key);
        this.count.found++;
      }
      if (how === 'ids') return;
      for (const row of rows) {
        if (!(this.gone.get(row.id)?.at >= began)) this.show(row.id, id, counter(row));
      }
      if (how === 'anew') return;
      const room = this.rooms.get(id);
      const { told } = room;
      room.opened ||= new Date(began - this.settings.overlap).toISOString();
      for (const row of rows) {
        this.opened.set(row.id, Math.max(counter(row), this.opened.get(row.id) ?? 0));
        if (!(told.get(row.id) >= row.updated_at)) told.set(row.id, row.updated_at);
      }
      return;
    }
  }

  show(key, room, n) {
    if (this.leftBefore(key, room, n) || (this.rows.get(key)?.n ?? 0) >= n) return;
    this.rows.set(key, { room, n });
  }

  resync() {
    this.count.resyncs++;
    this.write('resync');
    if (this.#resync) return;
    this.#resync = setTimeout(() => {
      this.#resync = null;
      for (const id of this.rooms.keys()) this.busy(this.read(id, 'anew'));
    }, resyncWait);
  }

  // seen takes an event about a message.
  seen(row, event) {
    const n = counter(row);
    const before = this.got.get(row.id) ?? 0;
    this.count.events++;
    this.write(`${event} ${row.conversation_id} ${row.id} n=${n} ${row.updated_at}`);
    if (n === before) {
      this.count.duplicated++;
      this.note(`${event} ${row.id} n=${n} came twice`);
    } else if (n < before) {
      this.count.disordered++;
      this.note(`${event} ${row.id} n=${n} came after n=${before}`);
    } else if (this.leftBefore(row.id, row.conversation_id, n)) {
      this.count.disordered++;
      this.note(`${event} ${row.id} n=${n} came after its delete`);
    } else {
      this.count.states++;
    }
    if (n > before) this.got.set(row.id, n);
    this.show(row.id, row.conversation_id, n);
    for (const [id, { told }] of this.rooms) {
      if (id !== row.conversation_id) told.delete(row.id);
      else if (n > before) told.set(row.id, row.updated_at);
    }
  }

  // deleted takes the delete of a message in a room. A message that moved comes anew where it is, with a younger state.
  deleted(row) {
    const id = row.id ?? row.messageId;
    const room = row.conversationId ?? row.conversation_id ?? this.rows.get(id)?.room;
    const n = Math.max(this.got.get(id) ?? 0, this.opened.get(id) ?? 0);
    this.write(`message_deleted ${room} ${id}`);
    const before = this.gone.get(id);
    if (before?.room === room && before.n === n) {
      this.count.duplicated++;
      this.note(`message_deleted ${id} in ${room} came twice`);
      return;
    }
    this.count.told++;
    this.gone.set(id, { room, n, at: Date.now() });
    this.rooms.get(room)?.told.delete(id);
    if (this.rows.get(id)?.room === room) this.rows.delete(id);
  }

  // leftBefore tells whether a state of a message is no younger than the one in which it left a room.
  leftBefore(id, room, n) {
    const gone = this.gone.get(id);
    return gone?.room === room && gone.n >= n;
  }

  drop() {
    this.socket.io.engine?.close();
  }

  view() {
    const rooms = {};
    for (const id of this.rooms.keys()) rooms[id] = {};
    for (const [id, row] of this.rows) if (rooms[row.room]) rooms[row.room][id] = row.n;
    return {
      connected: this.socket.connected,
      pending: this.pending + [...this.rooms.values()].filter((room) => !room.joined).length + (this.#resync ? 1 : 0),
      got: Object.fromEntries(this.got),
      opened: Object.fromEntries(this.opened),
      rooms,
      ...this.count,
      last: this.last,
      examples: this.examples,
    };
  }
}

let browsers = [];

const commands = {
  start({ browsers: profiles, rest, key, since = false, overlap = 0, journal = false }) {
    browsers = profiles.map((profile) => new Browser({ rest, key, since, overlap, journal }, profile));
    return {};
  },
  drop({ who = 0 }) {
    browsers[who].drop();
    return {};
  },
  state() {
    const views = browsers.map((browser) => browser.view());
    return { settled: views.filter((view) => view.connected && view.pending === 0).length };
  },
  journals() {
    return browsers.map((browser) => browser.journal);
  },
  views() {
    return browsers.map((browser) => browser.view());
  },
};

const lines = createInterface({ input: process.stdin });
lines.on('line', (line) => {
  const question = JSON.parse(line);
  process.stdout.write(`${JSON.stringify(commands[question.do](question))}\n`);
});
lines.on('close', () => process.exit(0));
