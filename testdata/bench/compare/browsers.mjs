// The browsers of the comparison: N frontends of one kind in this process, with the clients that frontends really use. It is told what to be by a line of JSON on
// stdin, says "ready" when all follow their conversation, and answers each later line: "reset" forgets what was measured, "report" gives it. The end of stdin ends it.
//
// A wake-up is a moment in which a browser has something to do on its account: an answer or a frame arrives, or a timer of its own sends something.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const require = createRequire(new URL('../../node/package.json', import.meta.url));
const { io } = require('socket.io-client');
const { createClient } = require('@supabase/supabase-js');
const WebSocket = require('ws');

let latencies = []; // milliseconds from commit to here
let wakeups = 0;
let problems = {};

const problem = (what) => (problems[what] = (problems[what] ?? 0) + 1);

// arrived notes the time since the row's commit, which the database wrote into it with microseconds.
function arrived(row) {
  const [seconds, fraction = ''] = (row.created_at ?? row.createdAt).replace(/(Z|\+00:00)$/, '').split('.');
  const committed = Date.parse(`${seconds}Z`) + Number(`0.${fraction || 0}`) * 1000;
  latencies.push(performance.timeOrigin + performance.now() - committed);
}

// poll reads the conversation again and again, as a frontend does that has no other way, and finds what it had not seen.
function poll({ url, key, interval, count }, { token, conversation }, index) {
  const seen = new Set();
  const query = new URLSearchParams({ select: '*', conversation_id: `eq.${conversation}`, order: 'created_at.desc', limit: '50' });
  const read = async (first) => {
    if (!first) wakeups++; // the timer
    try {
      const response = await fetch(`${url}/rest/v1/messages?${query}`, { headers: { apikey: key, authorization: `Bearer ${token}` } });
      const rows = await response.json();
      if (!first) wakeups++; // the answer
      if (!response.ok) return problem(`HTTP ${response.status}`);
      for (const row of rows) {
        if (seen.has(row.id)) continue;
        seen.add(row.id);
        if (!first) arrived(row);
      }
    } catch (error) {
      problem(error.cause?.code ?? error.message);
    }
  };
  const repeat = () => setTimeout(() => (void read(false), setInterval(() => void read(false), interval)), (interval * index) / count);
  return read(true).then(repeat);
}

// socket joins the conversation on a Socket.IO server.
const socket = ({ url }, { token, conversation }) =>
  new Promise((resolve, reject) => {
    const socket = io(url, { forceNew: true, transports: ['websocket'], auth: { token } });
    socket.on('connect', () => {
      socket.io.engine.on('packet', () => wakeups++);
      socket.emit('join_conversation', conversation, (ack) => (ack.success ? resolve() : reject(new Error(`join: ${ack.error}`))));
    });
    socket.on('connect_error', (error) => {
      problem(`connect: ${error.message}`);
      if (!socket.active) reject(error); // refused: it doesn't try again
    });
    socket.on('disconnect', (reason) => problem(`disconnected: ${reason}`));
    socket.on('new_message', arrived);
  });

class CountedWebSocket extends WebSocket {
  constructor(...args) {
    super(...args);
    this.on('message', () => wakeups++);
  }

  send(data, ...rest) {
    if (typeof data === 'string' && data.includes('"heartbeat"')) wakeups++; // its timer
    return super.send(data, ...rest);
  }
}

// channel follows the conversation on a channel of its own, as Supabase's documentation has it.
async function channel({ url, key }, { token, conversation }) {
  const client = createClient(url, key, { auth: { persistSession: false, autoRefreshToken: false }, realtime: { transport: CountedWebSocket } });
  await client.realtime.setAuth(token); // before the channel joins: it joins as nobody else
  await new Promise((resolve) => {
    client
      .channel(`messages:${conversation}`)
      .on('postgres_changes', { event: 'INSERT', schema: 'public', table: 'messages', filter: `conversation_id=eq.${conversation}` }, ({ new: row }) => arrived(row))
      .on('system', {}, ({ extension, status, message }) => {
        if (extension !== 'postgres_changes') return;
        if (status === 'ok') resolve();
        else problem(message);
      })
      .subscribe((status, error) => {
        if (status !== 'SUBSCRIBED') problem(`${status}${error ? `: ${error.message}` : ''}`);
      });
  });
}

const kinds = { polling: poll, supabridge: socket, fast: socket, 'supabase-js': channel };
const atOnce = 50; // how many connect at the same time

for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'reset') {
    latencies = [];
    wakeups = 0;
    problems = {};
    console.log('reset');
  } else if (line === 'report') {
    console.log(JSON.stringify({ latencies, wakeups, problems }));
  } else {
    const settings = JSON.parse(line);
    settings.count = settings.browsers.length;
    const start = kinds[settings.kind];
    for (let i = 0; i < settings.count; i += atOnce) {
      await Promise.all(settings.browsers.slice(i, i + atOnce).map((browser, n) => start(settings, browser, i + n)));
    }
    console.log('ready');
  }
}
process.exit(0);
