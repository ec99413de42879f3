// `supabridge dev`: the stand-in, the bridge and the sample page in one process.
import { freePort, Program } from './program.mjs';
import { Standin } from './standin.mjs';

export async function startDev({ flags = [], env = {} } = {}) {
  const dev = new Dev(await freePort(), await freePort(), flags, env);
  await dev.start();
  return dev;
}

class Dev {
  #args;
  #env;

  constructor(port, supabasePort, flags, env) {
    this.url = `http://127.0.0.1:${port}`;
    this.standin = new Standin(supabasePort); // runs inside dev: it is talked to here, never started
    this.#args = ['dev', '--listen', `127.0.0.1:${port}`, '--supabase-listen', `127.0.0.1:${supabasePort}`, ...flags];
    this.#env = env;
  }

  async start() {
    this.program = Program.start(this.#args, this.#env);
    await this.program.answers(`${this.url}/readyz`);
  }

  stop() {
    return this.program.stop();
  }
}
