// setting reads a variable of the running server. Named by a constant it would be fixed when the app is built.
export function setting(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set`);
  return value;
}
