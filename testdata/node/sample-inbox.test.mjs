// What the sample page knows when answers of REST and events of the bridge cross each other.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

// The page's modules are served to browsers as they are, so they stand beside no package.json that would say they are modules.
const source = readFileSync(new URL('../../internal/sample/page/inbox.js', import.meta.url));
const { Inbox } = await import(`data:text/javascript;base64,${source.toString('base64')}`);

const conversation = { id: 'c', customer_name: 'Corner Bakery' };
const message = (id, columns = {}) => ({
  id,
  conversation_id: 'c',
  content: id,
  is_from_customer: true,
  status: 'RECEIVED',
  created_at: `2026-01-01T00:00:0${id}+00:00`,
  updated_at: `2026-01-01T00:00:0${id}+00:00`,
  ...columns,
});
const listed = (inbox) => inbox.messagesOf('c').map((row) => row.id);

test('a row that comes twice is one message, whose newer version stays', () => {
  const inbox = new Inbox(() => {});
  inbox.setMessage(message('1', { content: 'new', updated_at: '2026-01-01T00:01:00.5+00:00' }));
  inbox.setMessage(message('1', { content: 'old' }));
  inbox.load([conversation], [message('2'), message('1', { content: 'old' })], 0);
  assert.deepEqual(listed(inbox), ['1', '2']);
  assert.equal(inbox.message('1').content, 'new');
});

test('an event that overtakes the answer of REST is not undone by it', () => {
  const inbox = new Inbox(() => {});
  inbox.load([conversation], [message('1'), message('2'), message('3')], inbox.moment());
  const asked = inbox.moment();
  inbox.setMessage(message('4'));
  inbox.setStatus('1', 'READ');
  inbox.removeMessage('2');
  inbox.load([conversation], [message('1'), message('2'), message('3')], asked);
  assert.deepEqual(listed(inbox), ['1', '3', '4']);
  assert.equal(inbox.message('1').status, 'READ');
});

test('a later answer replaces what is gone and is not replaced by an earlier one', () => {
  const inbox = new Inbox(() => {});
  const first = inbox.moment();
  inbox.setMessage(message('1'));
  const second = inbox.moment();
  inbox.load([conversation], [message('2')], second);
  assert.deepEqual(listed(inbox), ['2'], 'message 1 was deleted while we were away');
  inbox.load([conversation], [message('3')], first);
  assert.deepEqual(listed(inbox), ['2']);
});

test('a message on its way survives a load and becomes the row that comes back', () => {
  const inbox = new Inbox(() => {});
  inbox.setMessage(message('1', { is_from_customer: false, status: 'SENT', sending: true }));
  inbox.load([conversation], [], inbox.moment());
  assert.equal(inbox.message('1').sending, true);
  inbox.setMessage(message('1', { is_from_customer: false, status: 'SENT' }));
  assert.equal(inbox.message('1').sending, undefined);
  inbox.fail('1');
  assert.equal(inbox.message('1').failed, undefined, 'it has arrived, whatever became of the request');
});

test('unread counts what customers wrote and nobody read', () => {
  const inbox = new Inbox(() => {});
  inbox.load([conversation], [message('1'), message('2', { status: 'READ' }), message('3', { is_from_customer: false, status: 'SENT' })], 0);
  assert.equal(inbox.overview()[0].unread, 1);
  inbox.setStatus('1', 'READ');
  assert.equal(inbox.overview()[0].unread, 0);
  assert.equal(inbox.unreadCount, 0);
});
