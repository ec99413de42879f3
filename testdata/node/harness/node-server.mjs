// A Socket.IO server in Node with the official adapter of a mode, and what emits to the whole cluster: the official emitter where it speaks that mode, else that server.
// A client enters the room that its auth names.
import { createServer } from 'node:http';
import { createAdapter as classic, createShardedAdapter } from '@socket.io/redis-adapter';
import { Emitter } from '@socket.io/redis-emitter';
import { createAdapter as streams } from '@socket.io/redis-streams-adapter';
import { createClient } from 'redis';
import { Server } from 'socket.io';

const commands = new Set(['publish', 'sPublish', 'xAdd']); // by which they send

export async function startNodeServer(redis, mode) {
  const pub = await createClient({ url: redis.url }).on('error', () => {}).connect(); // it connects anew by itself
  const sub = await pub.duplicate().on('error', () => {}).connect();
  let sending; // what was sent last; neither emitter nor adapter says
  const watched = new Proxy(pub, {
    get(_, name) {
      const value = pub[name];
      if (typeof value !== 'function') return value;
      return (...args) => {
        const result = value.apply(pub, args);
        if (commands.has(name)) sending = result;
        return result;
      };
    },
  });
  const adapter = { pubsub: () => classic(watched, sub), sharded: () => createShardedAdapter(watched, sub), streams: () => streams(watched) }[mode]();
  const http = createServer();
  const server = new Server(http, { adapter });
  await new Promise((resolve) => http.listen(0, '127.0.0.1', resolve));
  server.on('connection', (socket) => socket.join(socket.handshake.auth.room));
  const emitter = mode === 'pubsub' ? new Emitter(watched) : server;
  return {
    url: `http://127.0.0.1:${http.address().port}`,
    // emit gives a promise of Redis having taken the event.
    emit(room, ...event) {
      sending = undefined;
      emitter.to(room).emit(...event);
      return sending ?? Promise.reject(new Error(`nothing was sent to Redis at once in the mode ${mode}`));
    },
    // listeners is how many servers hear what is sent by pub/sub.
    async listeners() {
      return (await pub.pubSubNumSub('socket.io-request#/#'))['socket.io-request#/#'];
    },
    async stop() {
      await server.close();
      for (const client of [pub, sub]) {
        const given = setTimeout(() => client.disconnect().catch(() => {}), 2000); // where Redis is away it has more to say than it can
        await client.quit().catch(() => {});
        clearTimeout(given);
      }
    },
  };
}
