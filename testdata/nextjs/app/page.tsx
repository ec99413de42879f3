import { connection } from 'next/server';
import { Inbox } from '@/components/Inbox';
import { setting } from '@/lib/settings';

export default async function Page() {
  await connection();
  return (
    <Inbox
      settings={{
        supabaseUrl: setting('NEXT_PUBLIC_SUPABASE_URL'),
        supabaseAnonKey: setting('NEXT_PUBLIC_SUPABASE_ANON_KEY'),
        socketUrl: setting('NEXT_PUBLIC_SOCKET_URL'),
      }}
    />
  );
}
