// JSON Web Tokens as a local Supabase stack signs them: HS256 with the secret every such stack is documented to use.
import { createHmac } from 'node:crypto';

export const jwtSecret = 'super-secret-jwt-token-with-at-least-32-characters-long';

const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

// mint signs claims; seconds is how long the token lives from now (negative: it has expired already).
export function mint(claims, { seconds = 3600, secret = jwtSecret } = {}) {
  const now = Math.floor(Date.now() / 1000);
  const body = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode({ iat: now, exp: now + seconds, ...claims })}`;
  return `${body}.${createHmac('sha256', secret).update(body).digest('base64url')}`;
}

export const anonKey = mint({ iss: 'supabase', role: 'anon' });
export const serviceKey = mint({ iss: 'supabase', role: 'service_role' });

// userToken is the access token of a user who belongs to one distributor.
export function userToken({ id, name, tenant }, options) {
  return mint(
    {
      aud: 'authenticated',
      role: 'authenticated',
      sub: id,
      app_metadata: { distributor_id: tenant },
      user_metadata: { name },
    },
    options,
  );
}
