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

-- What supabridge doctor asks over the REST API with the service key: of the tables named what the catalog says, no row of theirs.
create or replace function "public".supabridge_facts(schema text, tables text[]) returns jsonb
  language sql
  stable
  set search_path = ''
as $function$
select jsonb_build_object(
  'tables', coalesce((
    select jsonb_object_agg(c.relname, jsonb_build_object(
      'published', exists (
        select from pg_catalog.pg_publication_tables p
        where p.pubname = 'supabase_realtime' and p.schemaname = n.nspname and p.tablename = c.relname),
      'identity', c.relreplident::text,
      'rls', c.relrowsecurity,
      'columns', (
        select jsonb_object_agg(a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod))
        from pg_catalog.pg_attribute a
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped),
      'indexes', coalesce((
        select jsonb_agg(jsonb_build_object('unique', i.indisunique, 'columns', (
          select coalesce(jsonb_agg(coalesce(a.attname::text, '') order by k.place), '[]')
          from unnest(i.indkey::int2[]) with ordinality k (attnum, place)
          left join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = k.attnum)))
        from pg_catalog.pg_index i
        where i.indrelid = c.oid and i.indisvalid and i.indpred is null), '[]'),
      'kept', exists (
        select from pg_catalog.pg_trigger t
        where t.tgrelid = c.oid and not t.tgisinternal and t.tgenabled <> 'D' and t.tgtype & 2 <> 0 and t.tgtype & 16 <> 0),
      'broadcasts', exists (
        select from pg_catalog.pg_trigger t
        where t.tgrelid = c.oid and t.tgname = 'supabridge_broadcast' and t.tgenabled <> 'D')
    ))
    from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = $1 and c.relname = any ($2)
  ), '{}'))
$function$;
revoke all on function "public".supabridge_facts(text, text[]) from public, anon, authenticated;
grant execute on function "public".supabridge_facts(text, text[]) to service_role;

commit;
