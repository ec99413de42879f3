// A Node server with the official adapter, as cluster-bench.mjs measures it: sockets join the room they ask for.
import { createServer } from 'node:http';
import { createAdapter } from '@socket.io/redis-adapter';
import { createClient } from 'redis';
import { Server } from 'socket.io';

const [port, url] = process.argv.slice(2);
const pub = await createClient({ url }).connect();
const sub = await pub.duplicate().connect();
const http = createServer();
const server = new Server(http, { adapter: createAdapter(pub, sub) });
server.on('connection', (socket) => socket.on('join_conversation', ({ conversationId }, ack) => (socket.join(`conversation:${conversationId}`), ack({ success: true }))));
http.listen(Number(port), '127.0.0.1');
