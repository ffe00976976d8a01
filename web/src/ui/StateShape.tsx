/** A state has a shape of its own, so that its colour is never alone. The word stands beside it. */
export type Shape = 'idle' | 'running' | 'waiting' | 'failed' | 'starting' | 'asleep' | 'ended'

const PATHS: Record<Shape, React.ReactNode> = {
  idle: <circle cx="5" cy="5" r="3.6" fill="none" stroke="currentColor" strokeWidth="1.6" />,
  running: <circle cx="5" cy="5" r="4.4" fill="currentColor" />,
  waiting: <path d="M5 0 10 5 5 10 0 5z" fill="currentColor" />,
  failed: <path d="M.8.8h8.4v8.4H.8z" fill="currentColor" />,
  starting: (
    <>
      <circle cx="5" cy="5" r="3.8" fill="none" stroke="currentColor" strokeWidth="1.4" />
      <path d="M5 1.2a3.8 3.8 0 0 1 0 7.6z" fill="currentColor" />
    </>
  ),
  asleep: <path d="M6.6 1A4.3 4.3 0 1 0 9.4 6.6 3.9 3.9 0 0 1 6.6 1z" fill="currentColor" />,
  ended: <path d="M1 5h8" stroke="currentColor" strokeWidth="1.8" />,
}

export function StateShape({ shape, label }: { shape: Shape; label?: string }) {
  return (
    <>
      <svg className="shape" data-shape={shape} viewBox="0 0 10 10" aria-hidden="true">
        {PATHS[shape]}
      </svg>
      {label ? <span className="sr-only">{label}</span> : null}
    </>
  )
}
