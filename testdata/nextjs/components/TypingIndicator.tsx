'use client';

export function TypingIndicator({ names }: { names: string[] }) {
  if (names.length === 0) return <p className="typing" />;
  return (
    <p className="typing" data-typing>
      {names.join(', ')} {names.length === 1 ? 'is' : 'are'} typing
      <span className="ellipsis">
        <i />
        <i />
        <i />
      </span>
    </p>
  );
}
