import type { SessionState } from '@/protocol/chat.generated'
import type { Shape } from '@/ui/StateShape'

const SHAPES: Record<SessionState, Shape> = {
  waiting: 'starting',
  waking: 'starting',
  idle: 'idle',
  running: 'running',
  asking: 'waiting',
  hibernated: 'asleep',
  ending: 'ended',
  ended: 'ended',
  failed: 'failed',
}

export const shapeOf = (state: SessionState): Shape => SHAPES[state]

export const isOver = (state: SessionState): boolean => state === 'ended' || state === 'failed'
