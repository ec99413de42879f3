-- supabridge: takes the fast lane back. It can be applied again.

begin;

drop trigger if exists supabridge_broadcast on "My ""Schema"""."Order
; drop table x; --";
drop index if exists "My ""Schema"""."supabridge_Order
; drop table x; --_cursor";

drop trigger if exists supabridge_broadcast on "My ""Schema"""."bare";

-- Fails where a trigger of another table still uses it: undo that first.
drop function if exists supabridge.broadcast_change();
drop function if exists supabridge.guard();
drop table if exists supabridge.lane;
drop schema if exists supabridge;
drop function if exists "My ""Schema""".supabridge_lane(text, text[]);
drop function if exists "My ""Schema""".supabridge_facts(text, text[]);
drop policy if exists supabridge_service_role_only on realtime.messages;

commit;
