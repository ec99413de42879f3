-- supabridge: the fast lane.
--
-- Each change of the tables below is broadcast on the private channel supabridge:lane as it commits. It can be applied again, and
-- `supabridge sql --undo` prints what takes it back. A broadcast that fails warns and lets the application's transaction be.

begin;

-- A schema of its own, which the API does not expose.
create schema if not exists supabridge;
revoke all on schema supabridge from public;

-- Whoever changes a row need not be allowed to broadcast, so the function runs as its owner. search_path is empty: nobody can put a function of
-- theirs in the place of one that is called here.
create or replace function supabridge.broadcast_change() returns trigger
  language plpgsql
  security definer
  set search_path = ''
as $function$
begin
  perform realtime.broadcast_changes('supabridge:lane', tg_op, tg_op, tg_table_name, tg_table_schema, new, old);
  return null;
exception when others then
  raise warning 'supabridge: a change of %.% was not broadcast: %', tg_table_schema, tg_table_name, sqlerrm;
  return null;
end
$function$;

-- A trigger fires without this right; nobody calls the function by hand.
revoke all on function supabridge.broadcast_change() from public;

-- messages
drop trigger if exists supabridge_broadcast on "public"."messages";
create trigger supabridge_broadcast
  after insert or update or delete on "public"."messages"
  for each row execute function supabridge.broadcast_change();
-- Missed rows are read in this order. On a large table, create it beforehand and concurrently: this locks out writers meanwhile.
create index if not exists "supabridge_messages_cursor" on "public"."messages" ("updated_at", "id");

-- conversations
drop trigger if exists supabridge_broadcast on "public"."conversations";
create trigger supabridge_broadcast
  after insert or update or delete on "public"."conversations"
  for each row execute function supabridge.broadcast_change();
-- Missed rows are read in this order. On a large table, create it beforehand and concurrently: this locks out writers meanwhile.
create index if not exists "supabridge_conversations_cursor" on "public"."conversations" ("updated_at", "id");

-- Who may listen. service_role bypasses row level security, so the bridge needs no policy; this one only keeps others out, also where a policy of
-- the application's own lets its users read every topic: it is restrictive, and takes away without giving.
alter table realtime.messages enable row level security;
drop policy if exists supabridge_service_role_only on realtime.messages;
create policy supabridge_service_role_only on realtime.messages
  as restrictive
  for all
  to public
  using ((select realtime.topic()) is distinct from 'supabridge:lane')
  with check ((select realtime.topic()) is distinct from 'supabridge:lane');

commit;
