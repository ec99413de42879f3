import { createClient, type SupabaseClient } from '@supabase/supabase-js';
import twilio from 'twilio';
import { setting } from '@/lib/settings';

// Where Supabase is, is known to the running server and not to the build, so the client is made with the first request.
let client: SupabaseClient | undefined;
const database = () =>
  (client ??= createClient(setting('NEXT_PUBLIC_SUPABASE_URL'), setting('SUPABASE_SERVICE_ROLE_KEY'), { auth: { persistSession: false } }));

const emptyTwiML = '<?xml version="1.0" encoding="UTF-8"?><Response/>';

// POST takes Twilio's webhooks as an application without the bridge does: it is checked, stored, and then answered. testdata/bench/webhooks holds the bridge
// against it.
export async function POST(request: Request) {
  const params = Object.fromEntries(new URLSearchParams(await request.text()));
  const signature = request.headers.get('x-twilio-signature') ?? '';
  if (!twilio.validateRequest(setting('TWILIO_AUTH_TOKEN'), signature, setting('TWILIO_WEBHOOK_URL'), params)) {
    return new Response('the signature does not fit', { status: 403 });
  }
  const failed = params.MessageStatus ? await storeStatus(params) : await storeMessage(params);
  if (failed) return new Response(failed, { status: 500 });
  return new Response(emptyTwiML, { headers: { 'content-type': 'text/xml' } });
}

async function storeMessage(params: Record<string, string>): Promise<string | undefined> {
  const { data: conversation, error: notFound } = await database()
    .from('conversations')
    .select('id')
    .eq('customer_phone', params.From.replace('whatsapp:', ''))
    .limit(1)
    .single();
  if (notFound) return notFound.message;
  const { error } = await database()
    .from('messages')
    .upsert(
      { conversation_id: conversation.id, content: params.Body, is_from_customer: true, status: 'DELIVERED', external_message_id: params.MessageSid },
      { onConflict: 'external_message_id', ignoreDuplicates: true },
    );
  return error?.message;
}

async function storeStatus(params: Record<string, string>): Promise<string | undefined> {
  const { error } = await database().from('messages').update({ status: params.MessageStatus.toUpperCase() }).eq('external_message_id', params.MessageSid);
  return error?.message;
}
