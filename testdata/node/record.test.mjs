// `supabridge record` watches a frontend with words of its own, and the profile that it writes serves that frontend, unchanged, under `supabridge run`.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { Server } from 'socket.io';
import { io } from 'socket.io-client';
import { Client, startBridge } from './harness/bridge.mjs';
import { freePort, Program, until } from './harness/program.mjs';
import { startStandin } from './harness/standin.mjs';

// The frontend. Nothing of it changes between its own server and supabridge: only the address.
class Desk {
  constructor(url, token) {
    this.client = new Client(io(`${url}/desk`, { path: '/api/rt', forceNew: true, auth: { accessToken: token }, transports: this.transports }));
  }
  get transports() {
    return ['websocket', 'polling'];
  }
  open = (id) => this.client.ask('thread.open', { thread: { id } });
  close = (id) => this.client.tell('thread.close', { thread: { id } });
  compose = (id, active) => this.client.tell('composing', { threadId: id, active });
  end = () => this.client.close();
}

// A frontend of the same words that begins with long polling.
class PollingDesk extends Desk {
  get transports() {
    return ['polling', 'websocket'];
  }
}

// The frontend's own server, as its team wrote it.
async function ownServer() {
  const http = createServer();
  const server = new Server(http, { path: '/api/rt' });
  const claims = (token) => JSON.parse(Buffer.from(token.split('.')[1], 'base64url'));
  server.of('/desk').on('connection', (socket) => {
    const { sub: id, user_metadata: { name } } = claims(socket.handshake.auth.accessToken);
    socket.on('thread.open', ({ thread }, ack) => {
      socket.join(thread.id);
      ack({ opened: true, threadId: thread.id });
    });
    socket.on('thread.close', ({ thread }) => socket.leave(thread.id));
    socket.on('composing', ({ threadId, active }) => socket.to(threadId).emit('peer.composing', { thread: threadId, who: id, name, active }));
  });
  await new Promise((resolve) => http.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${http.address().port}`,
    post: (thread, text) => server.of('/desk').to(thread).emit('thread.message', thread, { id: `m-${text}`, text, sentAt: new Date().toISOString() }),
    stop: () => new Promise((resolve) => server.close(resolve)),
  };
}

describe('record', () => {
  const folder = mkdtempSync(join(tmpdir(), 'record-'));
  let standin, ours, programs = [];
  before(async () => {
    standin = await startStandin();
    [ours] = await standin.tenants();
  });
  after(async () => {
    await standin?.stop();
    rmSync(folder, { recursive: true, force: true });
  });
  afterEach(async () => {
    for (const program of programs.splice(0)) await program.stop();
  });

  const record = async (out, ...flags) => {
    const port = await freePort();
    const program = Program.start(['record', '--listen', `127.0.0.1:${port}`, '--out', join(folder, out), ...flags]);
    programs.push(program);
    await until('recorder', () => program.output.includes('Recording at'));
    return {
      url: `http://127.0.0.1:${port}`,
      profile: async () => {
        const { code } = await program.signal('SIGINT');
        assert.equal(code, 0, program.output);
        return readFileSync(join(folder, out), 'utf8');
      },
    };
  };

  // converse is what two users of the frontend do; post is how a message comes into the world.
  const converse = async (url, Frontend, post) => {
    const [ana, ben] = ours.users;
    const [thread] = ours.conversations;
    const [first, second] = [new Frontend(url, ana.token), new Frontend(url, ben.token)];
    try {
      for (const desk of [first, second]) {
        await desk.client.next('connect');
        assert.deepEqual(await desk.open(thread), { opened: true, threadId: thread });
      }
      first.compose(thread, true);
      assert.deepEqual(await second.client.next('peer.composing'), { thread, who: ana.id, name: ana.name, active: true });
      first.compose(thread, false);
      assert.deepEqual(await second.client.next('peer.composing'), { thread, who: ana.id, name: ana.name, active: false });
      const text = `hello from ${Frontend.name}`;
      await post(thread, text);
      for (const desk of [first, second]) {
        await desk.client.next('thread.message', (id) => id === thread);
        const message = desk.client.events.findLast((event) => event.name === 'thread.message').args[1];
        assert.equal(message.text, text);
        assert.ok(!Number.isNaN(Date.parse(message.sentAt)), `sentAt ${message.sentAt}`);
      }
      first.close(thread);
    } finally {
      first.end();
      second.end();
    }
  };

  for (const Frontend of [Desk, PollingDesk]) {
    test(`the profile of a frontend and its own server serves that frontend (${Frontend.name})`, async () => {
      const own = await ownServer();
      const file = `${Frontend.name}.yaml`;
      let profile;
      try {
        const recording = await record(file, '--upstream', own.url);
        await converse(recording.url, Frontend, own.post);
        profile = await recording.profile();
      } finally {
        await own.stop();
      }
      for (const { token, id } of ours.users) assert.ok(!profile.includes(token) && !profile.includes(id), 'the profile holds no value');
      const bridge = await startBridge(standin, {}, ['--config', join(folder, file)]);
      try {
        await converse(bridge.url, Frontend, (thread, text) => standin.write(thread, text));
      } catch (error) {
        throw new Error(`${error.message}\n${profile}`);
      } finally {
        await bridge.stop();
      }
    });
  }

  test('without its server a frontend is answered, and its profile has its style', async () => {
    const [ana] = ours.users;
    const [thread] = ours.conversations;
    const visit = async (url) => {
      const client = new Client(io(url, { path: '/live', forceNew: true, query: { token: ana.token } }));
      await client.next('connect');
      assert.equal((await client.ask('ticket:join', { ticket: thread })).success, true);
      assert.equal((await client.ask('typing:start', { ticket: thread })).success, true);
      return client;
    };
    const recording = await record('alone.yaml');
    (await visit(recording.url)).close();
    const profile = await recording.profile();
    assert.match(profile, /conversation_noun: ticket/);
    const bridge = await startBridge(standin, {}, ['--config', join(folder, 'alone.yaml')]);
    try {
      const client = await visit(bridge.url);
      await standin.write(thread, 'in its style');
      await client.next('message:new', (m) => m.content === 'in its style');
      client.close();
    } catch (error) {
      throw new Error(`${error.message}\n${profile}`);
    } finally {
      await bridge.stop();
    }
  });
});
