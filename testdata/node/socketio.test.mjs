// The Socket.IO server alone, met by the real socket.io-client: every transport, binary, acks both ways, namespaces, recovery, and
// the reasons a client is given for the end.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect as dial, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { io } from 'socket.io-client';
import { freePort, until } from './harness/program.mjs';

const repository = fileURLToPath(new URL('../..', import.meta.url));

// once waits for one event; an array of its values.
const once = (emitter, event, seconds = 10) =>
  new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`no ${event} within ${seconds} s`)), seconds * 1000);
    emitter.once(event, (...values) => {
      clearTimeout(late);
      resolve(values);
    });
  });

describe('socket.io-client', () => {
  const folder = mkdtempSync(join(tmpdir(), 'supabridge-socketio-'));
  const clients = [];
  let port, url, server;

  const start = async () => {
    server = spawn(join(folder, 'conformance'), ['-node', `127.0.0.1:${port}`], { stdio: 'inherit' });
    await until('server', async () => (await fetch(`${url}/socket.io/?EIO=4&transport=polling`)).ok);
  };
  const stop = async () => {
    if (!server) return;
    const ended = once(server, 'exit');
    server.kill('SIGTERM');
    await ended;
    server = null;
  };

  before(async () => {
    const built = spawnSync('go', ['build', '-o', join(folder, 'conformance'), './testdata/conformance'], {
      cwd: repository,
      encoding: 'utf8',
    });
    assert.equal(built.status, 0, built.stderr);
    port = await freePort();
    url = `http://127.0.0.1:${port}`;
    await start();
  });
  after(async () => {
    await stop();
    rmSync(folder, { recursive: true, force: true });
  });
  afterEach(() => {
    for (const client of clients.splice(0)) client.close();
  });

  const connect = (namespace = '', options = {}) => {
    const client = io(url + namespace, { forceNew: true, reconnectionDelay: 20, reconnectionDelayMax: 50, ...options });
    clients.push(client);
    return client;
  };
  const connected = async (namespace, options) => {
    const client = connect(namespace, options);
    await once(client, 'connect');
    return client;
  };
  const ask = (client, ...event) => client.timeout(10000).emitWithAck(...event);
  // away cuts the connection as a broken network does: without a word from the Socket.IO layer.
  const away = async (client) => {
    const gone = once(client, 'disconnect');
    client.io.engine.close();
    return gone;
  };

  test('by default a client begins with long-polling and moves to websocket', async () => {
    const client = connect();
    const upgraded = once(client.io.engine, 'upgrade');
    await once(client, 'connect');
    const [transport] = await upgraded;
    assert.equal(transport.name, 'websocket');
    await until('websocket at the server', async () => (await ask(client, 'transport')) === 'websocket');
  });

  test('what is said during the upgrade arrives once and in order', async () => {
    const client = connect();
    const said = [];
    client.on('said', (n) => said.push(n));
    for (let n = 0; n < 200; n++) {
      client.emit('say', n);
      if (n % 10 === 0) await new Promise(setImmediate);
    }
    await until('200 answers', () => said.length >= 200);
    assert.deepEqual(said, Array.from({ length: 200 }, (_, n) => n));
  });

  for (const [transport, forceBase64] of [
    ['polling', false],
    ['websocket', false],
    ['polling', true],
    ['websocket', true],
  ]) {
    describe(`with ${transport} alone${forceBase64 ? ', bytes as text' : ''}`, () => {
      test('values of every kind come back in an ack', async () => {
        const client = await connected('', { transports: [transport], forceBase64 });
        assert.equal(await ask(client, 'transport'), transport);
        const value = { text: 'héllo 🙂 \u2028', number: -1.5, list: [null, true, []], nested: { deep: { er: 1 } } };
        assert.deepEqual(await ask(client, 'echo', value), value);
      });
      test('bytes come back at any depth, whole', async () => {
        const client = await connected('', { transports: [transport], forceBase64 });
        const big = Buffer.alloc(200_000, 7);
        const answer = await ask(client, 'echo', { list: [Buffer.from([1, 2, 3])], big, name: 'x' });
        assert.deepEqual([...answer.list[0]], [1, 2, 3]);
        assert.ok(big.equals(answer.big));
        assert.equal(answer.name, 'x');
        const said = once(client, 'said');
        client.emit('say', Uint8Array.of(9, 8), 'and text');
        const [bytes, text] = await said;
        assert.deepEqual([...bytes], [9, 8]);
        assert.equal(text, 'and text');
      });
      test('the server gets an ack for what it asks', async () => {
        const client = await connected('', { transports: [transport], forceBase64 });
        client.on('question', (value, answer) => answer({ heard: value }));
        assert.deepEqual(await ask(client, 'ask me', 'how are you'), { heard: 'how are you' });
      });
    });
  }

  test('an event without a handler is never acknowledged', async () => {
    const client = await connected();
    await assert.rejects(client.timeout(100).emitWithAck('nobody listens'), /timed out/);
  });

  test('namespaces share a connection and nothing else', async () => {
    const main = await connected('', { forceNew: false, multiplex: true });
    const members = await connected('/members', { forceNew: false, auth: { word: 'open sesame' } });
    assert.equal(main.io, members.io);
    assert.notEqual(main.id, members.id);
    await ask(main, 'join', 'hall');
    await ask(members, 'join', 'hall');
    const heard = [];
    main.on('news', (n) => heard.push(['main', n]));
    members.on('news', (n) => heard.push(['members', n]));
    await ask(members, 'publish', 'hall', 'news', 1);
    await ask(main, 'publish', 'hall', 'news', 2);
    assert.deepEqual(heard, [['members', 1], ['main', 2]]);
    members.disconnect();
    assert.equal(await ask(main, 'echo', 'still here'), 'still here');
  });

  test('a refused client learns why, with data, and may come with something better', async () => {
    const client = connect('/members', { auth: { word: 'please' } });
    const [error] = await once(client, 'connect_error');
    assert.equal(error.message, 'not a member');
    assert.deepEqual(error.data, { code: 42, retry: false });
    assert.equal(client.active, false);
    client.auth = { word: 'open sesame' };
    client.connect();
    await once(client, 'connect');

    const [unknown] = await once(connect('/nowhere'), 'connect_error');
    assert.equal(unknown.message, 'Invalid namespace');
  });

  for (const transports of [['polling'], ['websocket'], ['polling', 'websocket']]) {
    test(`a client that was away gets what it missed, in order (${transports.join(' and ')})`, async () => {
      const client = await connected('', { transports });
      const other = await connected();
      const heard = [];
      // The last argument is the offset by which the server knows what the client has got.
      client.on('news', (n, bytes) => heard.push([n, Buffer.isBuffer(bytes) ? [...bytes] : undefined]));
      await ask(client, 'join', 'recovery');
      await ask(other, 'publish', 'recovery', 'news', 0);
      await until('the first', () => heard.length === 1);
      const id = client.id;

      client.io.reconnection(false);
      await away(client);
      for (let n = 1; n <= 20; n++) await ask(other, 'publish', 'recovery', 'news', n, ...(n % 5 ? [] : [Buffer.from([n])]));
      await ask(other, 'publish', 'elsewhere', 'news', 'not for this room');
      client.io.reconnection(true);
      client.connect();
      await once(client, 'connect');
      assert.equal(client.recovered, true);
      assert.equal(client.id, id);
      await ask(other, 'publish', 'recovery', 'news', 21);
      await until('the last', () => heard.at(-1)[0] === 21);
      assert.deepEqual(heard, Array.from({ length: 22 }, (_, n) => [n, n > 0 && n < 21 && n % 5 === 0 ? [n] : undefined]));
    });
  }

  for (const transports of [['polling'], ['websocket']]) {
    test(`a client whose line is cut while it gets what it missed gets none of it twice (${transports})`, async () => {
      let left = Infinity; // bytes that a connection may bring
      const sockets = new Set();
      const proxy = createServer((near) => {
        const far = dial(port, '127.0.0.1');
        let budget = left;
        const end = () => [near, far].forEach((socket) => socket.destroy());
        for (const socket of [near, far]) sockets.add(socket.on('error', end).on('close', end));
        near.pipe(far);
        far.on('data', (bytes) => {
          near.write(bytes.subarray(0, Math.max(0, budget)));
          if ((budget -= bytes.length) < 0) near.end(() => end());
        });
      });
      await new Promise((resolve) => proxy.listen(0, '127.0.0.1', resolve));
      try {
        const client = io(`http://127.0.0.1:${proxy.address().port}`, {
          forceNew: true, transports, reconnectionDelay: 20, reconnectionDelayMax: 50,
        });
        clients.push(client);
        await once(client, 'connect');
        const other = await connected();
        const heard = [];
        client.on('news', (n) => heard.push(n));
        await ask(client, 'join', 'cut');
        await ask(other, 'publish', 'cut', 'news', 0);
        await until('the first', () => heard.length === 1);
        client.io.reconnection(false);
        await away(client);
        const large = 'x'.repeat(2000);
        for (let n = 1; n <= 100; n++) await ask(other, 'publish', 'cut', 'news', n, large);
        client.io.reconnection(true);
        let failures = 0;
        client.io.on('close', () => failures++);
        client.io.on('error', () => failures++);
        left = 60_000;
        client.connect();
        await until('some tries to fail', () => failures >= 3);
        left = Infinity;
        await until('the last', () => heard.at(-1) === 100);
        assert.deepEqual(heard, Array.from({ length: 101 }, (_, n) => n));
      } finally {
        for (const socket of sockets) socket.destroy();
        proxy.close();
      }
    });
  }

  test('a client that left by itself is a new one when it comes back', async () => {
    const client = await connected();
    await ask(client, 'join', 'left');
    const id = client.id;
    client.disconnect();
    client.connect();
    await once(client, 'connect');
    assert.equal(client.recovered, false);
    assert.notEqual(client.id, id);
  });

  describe('each end has its reason:', () => {
    const end = async (client, act) => {
      const gone = once(client, 'disconnect');
      act();
      return (await gone)[0];
    };
    test('the client leaves', async () => {
      const client = await connected();
      assert.equal(await end(client, () => client.disconnect()), 'io client disconnect');
      assert.equal(client.active, false);
    });
    test('the server sends it away from a namespace, and it stays away', async () => {
      const client = await connected();
      assert.equal(await end(client, () => client.emit('leave')), 'io server disconnect');
      assert.equal(client.active, false);
    });
    test('the server ends the connection, and it stays away', async () => {
      const client = await connected();
      assert.equal(await end(client, () => client.emit('close')), 'io server disconnect');
      assert.equal(client.active, false);
    });
    test('the server cuts the connection, and it comes back by itself', async () => {
      const client = await connected();
      assert.equal(await end(client, () => client.emit('cut')), 'transport close');
      assert.equal(client.active, true);
      await once(client, 'connect');
    });
    test('the server dies, and the client comes back when there is one again', async () => {
      const client = await connected('', { transports: ['websocket'] });
      const gone = once(client, 'disconnect');
      await stop();
      assert.match((await gone)[0], /^transport (close|error)$/);
      await start();
      if (!client.connected) await once(client, 'connect');
      assert.equal(client.recovered, false);
      assert.equal(await ask(client, 'echo', 'again'), 'again');
    });
  });
});
