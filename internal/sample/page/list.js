// The left side: who is online, and the conversations with what was said last.
import { byID, clock, day, dress, element, keyed, tick, typingText } from './dom.js';

export class List {
  // me is the signed-in user, colleagues everybody of the same tenant, choose is called with the id of a conversation.
  constructor(inbox, me, colleagues, choose) {
    this.inbox = inbox;
    this.me = me;
    this.colleagues = colleagues;
    this.choose = choose;
  }

  render() {
    this.#renderPeople();
    this.#renderConversations();
  }

  #renderPeople() {
    keyed(byID('people'), this.colleagues, {
      key: (user) => user.id,
      version: (user) => [this.inbox.online.has(user.id), this.inbox.lastSeen.get(user.id)],
      make: (user) => element('li', { data: { user: user.id } }),
      render: (item, user) => {
        const online = this.inbox.online.has(user.id);
        const seen = this.inbox.lastSeen.get(user.id);
        const state = online ? 'online' : seen ? `last seen ${clock(seen)}` : 'offline';
        item.dataset.online = online;
        item.replaceChildren(
          dress(element('span', { className: 'avatar small', ariaHidden: 'true' }), user.name),
          element('span', { className: 'person' }, user.id === this.me.id ? `${user.name} (you)` : user.name),
          element('span', { className: 'unseen', textContent: state }),
        );
        item.title = `${user.name}: ${state}`;
      },
    });
  }

  #renderConversations() {
    keyed(byID('conversations'), this.inbox.overview(), {
      key: (conversation) => conversation.id,
      version: ({ id, name, last, unread, typing }) => [name, last, unread, typing, id === this.inbox.openID],
      make: ({ id }) => {
        const button = element('button', { type: 'button', onclick: () => this.choose(id) });
        return element('li', { data: { conversation: id } }, button);
      },
      render: (item, conversation) => {
        const { id, name, last, unread, typing } = conversation;
        item.dataset.unread = unread;
        const button = item.firstElementChild;
        if (id === this.inbox.openID) button.setAttribute('aria-current', 'true');
        else button.removeAttribute('aria-current');
        button.replaceChildren(
          dress(element('span', { className: 'avatar', ariaHidden: 'true' }), name),
          element(
            'span',
            { className: 'summary' },
            element('span', { className: 'line' }, element('strong', {}, name), element('time', {}, last ? when(last.created_at) : '')),
            element('span', { className: 'line' }, preview(last, typing), unread > 0 ? badge(unread) : null),
          ),
        );
      },
    });
  }
}

const when = (timestamp) => {
  const name = day(timestamp);
  if (name === 'Today') return clock(timestamp);
  if (name === 'Yesterday') return name;
  return new Date(timestamp).toLocaleDateString([], { day: 'numeric', month: 'short' });
};

const badge = (unread) =>
  element('span', { className: 'badge' }, String(unread), element('span', { className: 'unseen', textContent: ' unread' }));

function preview(last, typing) {
  if (typing.length > 0) return element('span', { className: 'preview typing' }, typingText(typing));
  if (!last) return element('span', { className: 'preview' }, 'No messages yet');
  return element('span', { className: 'preview' }, last.is_from_customer ? null : tick(statusOf(last)), last.content);
}

// statusOf is what a message's tick shows.
export const statusOf = (message) => (message.failed ? 'FAILED' : message.sending ? 'sending' : message.status);
