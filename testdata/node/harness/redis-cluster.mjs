// A Redis Cluster of a test's own: three masters without replicas, which keep nothing on disk.
import { execFileSync } from 'node:child_process';
import { startRedis } from './redis.mjs';
import { freePort, until } from './program.mjs';

export async function startRedisCluster() {
  const nodes = [];
  for (let i = 0; i < 3; i++) {
    const bus = await freePort();
    nodes.push({ bus, redis: await startRedis(['--cluster-enabled', 'yes', '--cluster-port', `${bus}`, '--cluster-node-timeout', '2000']) });
  }
  const cli = (port, ...args) => execFileSync('redis-cli', ['-p', `${port}`, ...args], { encoding: 'utf8' });
  for (const [i, { bus, redis: { port } }] of nodes.entries()) {
    cli(port, 'cluster', 'addslotsrange', `${Math.floor((i * 16384) / 3)}`, `${Math.floor(((i + 1) * 16384) / 3) - 1}`);
    cli(nodes[0].redis.port, 'cluster', 'meet', '127.0.0.1', `${port}`, `${bus}`);
  }
  await until('a Redis Cluster', () =>
    nodes.every(({ redis: { port } }) => {
      const info = cli(port, 'cluster', 'info');
      return info.includes('cluster_state:ok') && info.includes('cluster_size:3');
    }),
  );
  const [first, ...others] = nodes.map(({ redis: { port } }) => `127.0.0.1:${port}`);
  return {
    url: `redis://${first}?${others.map((address) => `addr=${address}`).join('&')}`,
    urls: nodes.map(({ redis }) => redis.url),
    stop: () => Promise.all(nodes.map(({ redis }) => redis.stop())),
  };
}
