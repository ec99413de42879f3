// A way to Supabase that counts what goes through it: websockets that are open, and requests for rows. It can be shut for websockets.
import { createServer, request } from 'node:http';
import { connect } from 'node:net';

export async function startCounting(standin) {
  const way = new Counting(standin);
  await new Promise((resolve) => way.server.listen(0, '127.0.0.1', resolve));
  way.url = `http://127.0.0.1:${way.server.address().port}`;
  return way;
}

class Counting {
  reads = []; // the path of each GET of rows
  shut = false; // to websockets
  #open = new Set();

  constructor({ port }) {
    this.server = createServer((incoming, outgoing) => {
      const { method, url, headers } = incoming;
      if (method === 'GET' && url.startsWith('/rest/v1/')) this.reads.push(url);
      const onward = request({ port, host: '127.0.0.1', method, path: url, headers }, (answer) => {
        outgoing.writeHead(answer.statusCode, answer.headers);
        answer.pipe(outgoing);
      });
      onward.on('error', () => outgoing.destroy());
      incoming.pipe(onward);
    });
    this.server.on('upgrade', (incoming, socket, head) => {
      if (this.shut) return socket.destroy();
      const onward = connect(port, '127.0.0.1', () => {
        const headers = incoming.rawHeaders.reduce((text, word, i) => text + word + (i % 2 ? '\r\n' : ': '), '');
        onward.write(`${incoming.method} ${incoming.url} HTTP/1.1\r\n${headers}\r\n`);
        onward.write(head);
        socket.pipe(onward).pipe(socket);
      });
      this.#open.add(socket);
      socket.on('close', () => (this.#open.delete(socket), onward.destroy()));
      onward.on('close', () => socket.destroy());
      for (const end of [socket, onward]) end.on('error', () => {});
    });
  }

  // websockets is how many are open.
  get websockets() {
    return this.#open.size;
  }

  shutWebsockets() {
    this.shut = true;
    for (const socket of this.#open) socket.destroy();
  }

  stop() {
    this.shutWebsockets();
    this.server.closeAllConnections();
    return new Promise((resolve) => this.server.close(resolve));
  }
}
