// A reporter for node --test: one line a test, the whole error of a failed one, and a closing line "N passed, N failed".
import { relative } from 'node:path';

export default async function* report(events) {
  let passed = 0;
  const failures = [];
  for await (const { type, data } of events) {
    if (type === 'test:stderr' || type === 'test:stdout') {
      yield data.message;
      continue;
    }
    if (type === 'test:diagnostic' && /^(Warning|Error)/.test(data.message)) yield `${data.message}\n`; // of what went wrong outside of a test
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    // A suite passes and fails with its tests, but a failure of its before or after is its own.
    if (data.details.type === 'suite' && data.details.error?.failureType !== 'hookFailed') continue;
    const file = data.file ? `${relative(process.cwd(), data.file)}: ` : '';
    const took = `(${Math.round(data.details.duration_ms)} ms)`;
    if (data.skip !== undefined || data.todo !== undefined) {
      // A test that does not run proves nothing, and nothing here may be skipped.
      failures.push(`${file}${data.name}`);
      yield `not run  ${file}${data.name}\n`;
    } else if (type === 'test:pass') {
      passed++;
      yield `ok       ${file}${data.name} ${took}\n`;
    } else {
      failures.push(`${file}${data.name}`);
      const error = data.details.error?.cause ?? data.details.error;
      yield `FAILED   ${file}${data.name} ${took}\n${error?.stack ?? error}\n`;
    }
  }
  if (passed + failures.length === 0) {
    failures.push('no test ran');
  }
  for (const name of failures) yield `FAILED: ${name}\n`;
  yield `${passed} passed, ${failures.length} failed\n`;
  if (failures.length > 0) process.exitCode = 1;
}
