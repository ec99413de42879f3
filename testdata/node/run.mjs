// Runs the test files given as arguments (all *.test.mjs of this folder without any) under node --test, with one stand-in
// Supabase running beside them whose address and keys are in the environment: SUPABASE_URL, SUPABASE_ANON_KEY,
// SUPABASE_SERVICE_ROLE_KEY and SUPABASE_USER_TOKEN. Tests that kill a stand-in start their own.
import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startStandin } from './harness/standin.mjs';
import { anonKey, serviceKey } from './harness/tokens.mjs';

const folder = dirname(fileURLToPath(import.meta.url));
const given = process.argv.slice(2);
const files = given.length > 0 ? given : readdirSync(folder).filter((name) => name.endsWith('.test.mjs')).sort();

const standin = await startStandin();
try {
  const [tenant] = await standin.tenants();
  const runner = spawn(
    process.execPath,
    ['--test', '--test-concurrency=1', '--test-timeout=300000', '--test-reporter=./report.mjs', ...files],
    {
      cwd: folder,
      stdio: 'inherit',
      env: {
        ...process.env,
        SUPABASE_URL: standin.url,
        SUPABASE_ANON_KEY: anonKey,
        SUPABASE_SERVICE_ROLE_KEY: serviceKey,
        SUPABASE_USER_TOKEN: tenant.users[0].token,
      },
    },
  );
  process.exitCode = await new Promise((resolve) => runner.on('exit', (code) => resolve(code ?? 1)));
} finally {
  await standin.stop();
}
