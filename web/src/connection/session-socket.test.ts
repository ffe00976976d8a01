import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { FakeSocket } from '@/testing/FakeSocket'
import { events, sequenced, written } from '@/testing/wire'
import type { ServerFrame } from '@/protocol/chat.generated'
import { SessionSocket, type SocketStatus } from './session-socket'

const seen: { frames: ServerFrame[]; statuses: SocketStatus[]; seq: number } = {
  frames: [],
  statuses: [],
  seq: 0,
}
let probe = vi.fn(async () => 'fine' as 'fine' | 'signed-out' | 'gone' | 'unreachable')
let socket: SessionSocket

beforeEach(() => {
  vi.useFakeTimers()
  vi.stubGlobal('WebSocket', FakeSocket)
  Object.assign(seen, { frames: [], statuses: [], seq: 0 })
  FakeSocket.all = []
  probe = vi.fn(async () => 'fine' as const)
  socket = new SessionSocket({
    url: 'ws://host/stream',
    resumePoint: () => ({ seq: seen.seq, epoch: 'e1' }),
    deliver: (frames) => seen.frames.push(...frames),
    onStatus: (status) => seen.statuses.push(status),
    probe: () => probe(),
    random: () => 1,
  })
  socket.start()
})

afterEach(() => {
  socket.stop()
  vi.unstubAllGlobals()
  vi.useRealTimers()
})

const settle = (ms = 20_000) => vi.advanceTimersByTimeAsync(ms)

describe('a session socket', () => {
  it('says first where it left off', () => {
    FakeSocket.last.accept()
    expect(FakeSocket.last.sent).toEqual([{ type: 'resume', seq: 0, epoch: 'e1' }])
    expect(seen.statuses).toEqual(['connecting', 'online'])
  })

  it('hands frames on in batches, in order', async () => {
    FakeSocket.last.accept()
    for (const seq of [1, 2, 3]) FakeSocket.last.say(events([sequenced(seq, written('x'))]))
    expect(seen.frames).toHaveLength(0)
    await settle(300)
    expect(seen.frames.map((frame) => 'seq' in frame && frame.seq)).toEqual([1, 2, 3])
  })

  it('comes back by itself, with what it saw, and sends again what was not confirmed', async () => {
    FakeSocket.last.accept()
    socket.send({ type: 'prompt', client_id: 'c1', text: 'a' }, 'c1')
    socket.send({ type: 'prompt', client_id: 'c2', text: 'b' }, 'c2')
    socket.confirm('c1')
    seen.seq = 7
    FakeSocket.last.drop()
    await settle(16_000)
    expect(FakeSocket.all).toHaveLength(2)
    FakeSocket.last.accept()
    expect(FakeSocket.last.sent).toEqual([
      { type: 'resume', seq: 7, epoch: 'e1' },
      { type: 'prompt', client_id: 'c2', text: 'b' },
    ])
    expect(seen.statuses).toContain('reconnecting')
  })

  it('is calm about a restart that the server announced, until it is back', async () => {
    FakeSocket.last.accept()
    FakeSocket.last.drop(1012)
    expect(seen.statuses.at(-1)).toBe('restarting')
    await settle(1_500)
    expect(FakeSocket.all).toHaveLength(1) // it takes a moment: no hammering
    await settle(500)
    probe.mockResolvedValue('unreachable')
    FakeSocket.last.drop()
    await settle(4_000)
    expect(seen.statuses.slice(2).every((status) => status === 'restarting')).toBe(true)
    FakeSocket.last.accept()
    FakeSocket.last.say(events([]))
    FakeSocket.last.drop()
    expect(seen.statuses.at(-1)).toBe('reconnecting')
  })

  it('keeps what is typed while there is no connection', () => {
    socket.send({ type: 'prompt', client_id: 'c1', text: 'a' }, 'c1')
    FakeSocket.last.accept()
    expect(FakeSocket.last.sent.map((command) => command.type)).toEqual(['resume', 'prompt'])
  })

  it('does not knock again when nobody is signed in, until told to', async () => {
    probe.mockResolvedValue('signed-out')
    FakeSocket.last.accept()
    FakeSocket.last.drop(4401)
    await settle()
    expect(seen.statuses.at(-1)).toBe('signed-out')
    expect(FakeSocket.all).toHaveLength(1)
    socket.kick()
    expect(FakeSocket.all).toHaveLength(2)
  })

  it('stops where the session is gone', async () => {
    probe.mockResolvedValue('gone')
    FakeSocket.last.drop()
    await settle()
    expect(seen.statuses.at(-1)).toBe('gone')
    expect(FakeSocket.all).toHaveLength(1)
  })

  it('leaves a connection on which nothing is heard any more', async () => {
    FakeSocket.last.accept()
    await settle(100_000)
    expect(FakeSocket.all.length).toBeGreaterThan(1)
  })

  it('waits longer after each failure', async () => {
    const waits: number[] = []
    for (let failure = 0; failure < 4; failure += 1) {
      const count = FakeSocket.all.length
      FakeSocket.last.drop()
      const began = Date.now()
      while (FakeSocket.all.length === count) await settle(50)
      waits.push(Date.now() - began)
    }
    expect(waits).toEqual(waits.toSorted((a, b) => a - b))
    expect(waits[3]).toBeGreaterThan((waits[0] ?? 0) * 3)
  })

  it('survives a frame that is no JSON', async () => {
    FakeSocket.last.accept()
    FakeSocket.last.onmessage?.({ data: '{' })
    FakeSocket.last.say(events([sequenced(1, written('x'))]))
    await settle(300)
    expect(seen.frames).toHaveLength(1)
  })
})
