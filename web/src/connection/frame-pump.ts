/**
 * Gathers what arrives and hands it on once per animation frame, so that a hundred frames a second
 * cost one render. A hidden tab has no animation frames: there a timer does it.
 */
const HIDDEN_MS = 250
/** A tab that sleeps for hours must not hoard: beyond this it hands on at once. */
const MOST_HELD = 2_000

export class FramePump<Frame> {
  private held: Frame[] = []
  private cancel: (() => void) | null = null
  private readonly deliver: (frames: Frame[]) => void

  constructor(deliver: (frames: Frame[]) => void) {
    this.deliver = deliver
  }

  push(frame: Frame): void {
    this.held.push(frame)
    if (this.held.length >= MOST_HELD) this.flush()
    else this.cancel ??= this.schedule()
  }

  flush(): void {
    this.cancel?.()
    this.cancel = null
    const frames = this.held
    this.held = []
    if (frames.length > 0) this.deliver(frames)
  }

  stop(): void {
    this.cancel?.()
    this.cancel = null
    this.held = []
  }

  private schedule(): () => void {
    if (document.visibilityState === 'hidden') {
      const timer = setTimeout(() => this.flush(), HIDDEN_MS)
      return () => clearTimeout(timer)
    }
    // A frame that is asked for and then hidden may never come, hence the timer beside it.
    const frame = requestAnimationFrame(() => this.flush())
    const timer = setTimeout(() => this.flush(), HIDDEN_MS)
    return () => {
      cancelAnimationFrame(frame)
      clearTimeout(timer)
    }
  }
}
