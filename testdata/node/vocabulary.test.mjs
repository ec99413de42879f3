// A small frontend of each style, with the real socket.io-client, against a bridge with the profile of that style and against one without any.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { startBridge } from './harness/bridge.mjs';
import { startStandin } from './harness/standin.mjs';

const profile = (name) => fileURLToPath(new URL(`../profiles/${name}.yaml`, import.meta.url));

// What a frontend of each style emits and listens for, and where it finds a message's text.
const frontends = {
  underscore: {
    join: ['join_conversation', (id) => id],
    start: ['typing_start', (id) => ({ conversationId: id })],
    stop: ['typing_stop', (id) => ({ conversationId: id })],
    typing: 'user_typing',
    stopped: 'user_stopped_typing',
    message: 'new_message',
    text: (m) => m.content,
  },
  colon: {
    join: ['conversation:join', (id) => ({ conversationId: id })],
    start: ['typing:start', (id) => ({ conversationId: id })],
    stop: ['typing:stop', (id) => ({ conversationId: id })],
    typing: 'typing:start',
    stopped: 'typing:stop',
    message: 'message:new',
    text: (m) => m.content,
  },
  kebab: {
    join: ['join-conversation', (id) => `conversation_${id}`],
    start: ['typing-start', (id) => ({ conversation_id: id })],
    stop: ['typing-stop', (id) => ({ conversation_id: id })],
    typing: 'user-typing',
    stopped: 'user-stop-typing',
    message: 'new-message',
    text: (m) => m.message.content,
  },
  camel: {
    join: ['joinConversation', (id) => ({ conversationId: id })],
    start: ['startTyping', (id) => id],
    stop: ['stopTyping', (id) => id],
    typing: 'userTyping',
    stopped: 'userStopTyping',
    message: 'newMessage',
    text: (m) => m.content,
  },
  whaticket: {
    join: ['joinChatBox', (id) => id],
    start: ['typing', (id) => ({ ticketId: id, isTyping: true })],
    stop: ['typing', (id) => ({ ticketId: id, isTyping: false })],
    typing: 'presence',
    stopped: 'presence',
    message: 'appMessage',
    text: (m) => m.message.content,
  },
};

describe('vocabulary', () => {
  let standin, plain, ours;
  before(async () => {
    standin = await startStandin();
    plain = await startBridge(standin);
    [ours] = await standin.tenants();
  });
  after(async () => {
    await plain?.stop();
    await standin?.stop();
  });

  // converse has two browsers of one style talk.
  const converse = async (bridge, frontend) => {
    const [ana, ben] = ours.users;
    const [open] = ours.conversations;
    const { join, start, stop, typing, stopped, message, text } = frontend;
    const [first, second] = [bridge.connect(ana.token), bridge.connect(ben.token)];
    for (const client of [first, second]) {
      await client.next('connect');
      const answer = await client.ask(join[0], join[1](open));
      assert.equal(answer.success, true, JSON.stringify(answer));
    }
    await second.ask(start[0], start[1](open)); // reveals nothing new, and is the style's own
    await first.next(typing, (p) => (p.userId ?? p) === ben.id);
    second.tell(stop[0], stop[1](open));
    await first.next(stopped, (p) => (p.userId ?? p) === ben.id && p.isTyping !== true && p.presence !== 'composing');
    const row = await standin.write(open, `to ${message}`);
    const came = await first.next(message, (m) => text(m) === `to ${message}`);
    assert.ok(JSON.stringify(came).includes(row.id), 'the message has its id');
    return first;
  };

  // follow has a browser hear of all tickets of its company, whose room it enters without naming it.
  const follow = async (bridge) => {
    const event = `company-${ours.id}-appMessage`;
    const client = bridge.connect(ours.users[0].token);
    await client.next('connect');
    assert.equal((await client.ask('joinNotification')).success, true);
    const row = await standin.write(ours.conversations[0], 'to the company');
    const came = await client.next(event, (m) => m.message.body === 'to the company');
    assert.deepEqual([came.action, came.message.ticketId, came.message.id], ['create', row.conversation_id, row.id]);
    await standin.change(row.id, { status: 'READ' });
    const status = await client.next(event, (m) => m.action === 'update');
    assert.deepEqual(status.message, { id: row.id, ticketId: row.conversation_id, ack: 3 });
  };

  for (const [style, frontend] of Object.entries(frontends)) {
    test(`a ${style} frontend needs no configuration`, async () => {
      const first = await converse(plain, { ...frontend, text: style === 'kebab' ? (m) => m.content : frontend.text });
      const foreign = Object.values(frontends).map((other) => other.message).filter((name) => name !== frontend.message);
      assert.deepEqual(first.events.filter((event) => foreign.includes(event.name)), [], 'it hears no other style');
      plain.disconnectClients();
    });
  }

  for (const [style, frontend] of Object.entries(frontends)) {
    test(`the profile ${style} serves such a frontend`, async () => {
      const bridge = await startBridge(standin, {}, ['--config', profile(style)]);
      try {
        await (style === 'whaticket' ? follow(bridge) : converse(bridge, frontend));
      } finally {
        await bridge.stop();
      }
    });
  }
});
