// Making and updating elements, without a framework.

// element makes one: properties are set as properties, data becomes data attributes, children are elements or text.
export function element(tag, { data = {}, ...properties } = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  Object.assign(made.dataset, data);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export const byID = (id) => document.getElementById(id);

// keyed makes a list's children those of items: elements stay for as long as their key does, so that focus, scroll position
// and screen readers are not disturbed by what did not change. render gives an item's content, version what it depends on.
export function keyed(list, items, { key, version, make, render }) {
  const focused = document.activeElement;
  const keys = new Set(items.map(key));
  const present = new Map();
  for (const child of [...list.children]) {
    if (keys.has(child.dataset.key)) present.set(child.dataset.key, child);
    else child.remove();
  }
  let place = list.firstElementChild;
  for (const item of items) {
    const name = key(item);
    let child = present.get(name);
    if (!child) {
      child = make(item);
      child.dataset.key = name;
    }
    const now = JSON.stringify(version(item));
    if (child.dataset.version !== now) {
      child.dataset.version = now;
      render(child, item);
    }
    if (child === place) place = place.nextElementSibling;
    else list.insertBefore(child, place);
  }
  // An element that moves loses the focus.
  if (list.contains(focused) && document.activeElement !== focused) focused.focus({ preventScroll: true });
}

const svg = 'http://www.w3.org/2000/svg';
const check = 'M1.5 6.5 4.6 9.6 11 2.6';
const statuses = {
  sending: { text: 'Sending', paths: [['M6 1.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9M6 3.6V6l1.7 1', 3]] },
  SENT: { text: 'Sent', paths: [[check, 0]] },
  DELIVERED: { text: 'Delivered', paths: [[check, 0], [check, 4.6]] },
  READ: { text: 'Read', paths: [[check, 0], [check, 4.6]] },
  FAILED: { text: 'Not delivered', paths: [['M6 1.5v6M6 10v.4', 3]] },
};

// tick shows a status: one grey check, two grey, two blue; in words for those who do not see it.
export function tick(status) {
  const { text, paths } = statuses[status] ?? { text: status, paths: [] };
  const drawing = document.createElementNS(svg, 'svg');
  drawing.setAttribute('viewBox', '0 0 17 12');
  drawing.setAttribute('aria-hidden', 'true');
  for (const [d, shift] of paths) {
    const path = document.createElementNS(svg, 'path');
    path.setAttribute('d', d);
    path.setAttribute('transform', `translate(${shift} 0)`);
    drawing.append(path);
  }
  return element('span', { className: 'tick', data: { status } }, drawing, element('span', { className: 'unseen', textContent: text }));
}

// dress gives an avatar its initials and one of eight calm colours.
export function dress(avatar, name) {
  const words = name.trim().split(/\s+/);
  avatar.textContent = ((words[0][0] ?? '?') + (words.length > 1 ? words.at(-1)[0] : '')).toUpperCase();
  avatar.dataset.hue = [...name].reduce((sum, letter) => sum + letter.codePointAt(0), 0) % 8;
  return avatar;
}

export const clock = (timestamp) => new Date(timestamp).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });

// day names a date as people do: Today, Yesterday, else the date.
export function day(timestamp) {
  const date = new Date(timestamp);
  const at = (shift) => {
    const other = new Date();
    other.setDate(other.getDate() - shift);
    return other.toDateString() === date.toDateString();
  };
  if (at(0)) return 'Today';
  if (at(1)) return 'Yesterday';
  return date.toLocaleDateString([], { day: 'numeric', month: 'long', year: 'numeric' });
}

// typingText says who types.
export function typingText(names) {
  if (names.length === 0) return '';
  if (names.length === 1) return `${names[0]} is typing…`;
  return `${names.slice(0, -1).join(', ')} and ${names.at(-1)} are typing…`;
}
