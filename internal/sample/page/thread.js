// The right side: the messages of the open conversation, who is typing there, and the field to write in.
import { byID, clock, day, dress, element, keyed, tick, typingText } from './dom.js';
import { nameOf } from './inbox.js';
import { statusOf } from './list.js';

const pause = 3000; // milliseconds without a key until typing counts as stopped
const repeat = 2000; // how often typing is said again, well within the time after which the server would end it

export class Thread {
  #stopTimer = 0;
  #saidTyping = 0; // when typing was last said, 0 while not typing
  #shown = null; // the conversation on screen

  // actions are { send(text), retry(id), typing(isTyping), back() }.
  constructor(inbox, actions) {
    this.inbox = inbox;
    this.actions = actions;
    const text = byID('text');
    text.addEventListener('input', () => this.#typed(text.value.trim() !== ''));
    text.addEventListener('blur', () => this.#typed(false));
    text.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      byID('composer').requestSubmit();
    });
    byID('composer').addEventListener('submit', (event) => {
      event.preventDefault();
      const content = text.value.trim();
      if (!content) return;
      text.value = '';
      this.#typed(false);
      this.actions.send(content);
    });
    byID('back').addEventListener('click', () => this.actions.back());
  }

  render() {
    const { openID } = this.inbox;
    const conversation = this.inbox.conversations.get(openID);
    byID('no-thread').hidden = Boolean(conversation);
    byID('open-thread').hidden = !conversation;
    if (!conversation) return;

    const list = byID('messages');
    const follows = this.#shown !== openID || list.scrollHeight - list.scrollTop - list.clientHeight < 80;
    if (this.#shown !== openID) {
      this.#typed(false);
      list.replaceChildren();
      this.#shown = openID;
    }
    byID('thread-title').textContent = nameOf(conversation);
    dress(byID('thread-avatar'), nameOf(conversation));
    const state = byID('thread-state');
    const typing = typingText(this.inbox.typingIn(openID));
    state.textContent = typing || channel(conversation.channel);
    state.classList.toggle('typing', typing !== '');

    keyed(list, withDays(this.inbox.messagesOf(openID)), {
      key: (item) => item.key,
      version: ({ label, message }) => (label ? label : [message.content, statusOf(message), message.created_at]),
      make: ({ label, message }) => (label ? element('li', { className: 'day' }, element('span', {}, label)) : bubble(message)),
      render: (item, { message }) => {
        if (message) this.#fill(item, message);
      },
    });
    if (follows) list.scrollTop = list.scrollHeight;
  }

  #fill(item, message) {
    item.dataset.status = statusOf(message);
    item.replaceChildren(
      element('p', {}, message.content),
      element(
        'span',
        { className: 'meta' },
        element('time', { dateTime: message.created_at }, clock(message.created_at)),
        message.is_from_customer ? null : tick(statusOf(message)),
      ),
    );
    if (message.failed) {
      item.append(element('button', { type: 'button', className: 'retry', onclick: () => this.actions.retry(message.id) }, 'Not sent. Try again'));
    }
  }

  #typed(isTyping) {
    clearTimeout(this.#stopTimer);
    if (!isTyping) {
      if (this.#saidTyping) this.actions.typing(false);
      this.#saidTyping = 0;
      return;
    }
    this.#stopTimer = setTimeout(() => this.#typed(false), pause);
    if (Date.now() - this.#saidTyping < repeat) return;
    this.#saidTyping = Date.now();
    this.actions.typing(true);
  }
}

const bubble = (message) =>
  element('li', { className: message.is_from_customer ? 'bubble theirs' : 'bubble ours', data: { message: message.id } });

const channel = (name) => ({ WHATSAPP: 'WhatsApp', SMS: 'SMS', EMAIL: 'E-mail' })[name] ?? name ?? '';

// withDays puts a label before the first message of each day.
function withDays(messages) {
  const items = [];
  let current = '';
  for (const message of messages) {
    const label = day(message.created_at);
    if (label !== current) items.push({ key: `day ${label}`, label });
    current = label;
    items.push({ key: message.id, message });
  }
  return items;
}
