/**
 * One WebSocket per open session. It says where it left off (`resume`), comes back by itself, and
 * keeps what was sent until the stream confirms it, so that a prompt typed in a tunnel still runs,
 * once. What the frames mean is not its business: see `chat/transcript`.
 */
import type { BrowserCommand, ServerFrame } from '@/protocol/chat.generated'
import { parseEvents } from '@/protocol/exact-numbers'
import { backoff } from './backoff'
import { FramePump } from './frame-pump'

export type SocketStatus =
  'connecting' | 'online' | 'reconnecting' | 'restarting' | 'offline' | 'signed-out' | 'gone'

export interface ResumePoint {
  seq: number
  epoch: string
}

export interface SocketSettings {
  url: string
  resumePoint: () => ResumePoint
  deliver: (frames: ServerFrame[]) => void
  onStatus: (status: SocketStatus) => void
  /** Asked when the server turned us away: is the person still signed in, is the session there? */
  probe: () => Promise<'fine' | 'signed-out' | 'gone' | 'unreachable'>
  /** Whether the server said that it is about to be started anew. */
  restarting?: () => boolean
  random?: () => number
}

const RESTARTING = 1012
const SIGNED_OUT = 4401
const NOT_FOUND = 4404
const PING_MS = 20_000
/** No frame for that long after a ping: the connection is dead, whatever the browser believes. */
const SILENCE_MS = 45_000
const OPEN_MS = 10_000
/** Steps of the backoff that are left out where a server is known to be starting. */
const CALM = 2
const MOST_UNCONFIRMED = 200

export class SessionSocket {
  private socket: WebSocket | null = null
  private attempt = 0
  private retry: ReturnType<typeof setTimeout> | null = null
  private beat: ReturnType<typeof setInterval> | null = null
  private heardAt = 0
  private closed = true
  /** It said so before it went: nothing is wrong, and there is no hurry. */
  private expected = false
  private readonly unconfirmed = new Map<string, BrowserCommand>()
  private readonly pump: FramePump<ServerFrame>
  private readonly settings: SocketSettings

  constructor(settings: SocketSettings) {
    this.settings = settings
    this.pump = new FramePump(settings.deliver)
  }

  start(): void {
    if (!this.closed) return
    this.closed = false
    addEventListener('online', this.kick)
    addEventListener('offline', this.wentOffline)
    document.addEventListener('visibilitychange', this.kick)
    this.connect()
  }

  stop(): void {
    this.closed = true
    removeEventListener('online', this.kick)
    removeEventListener('offline', this.wentOffline)
    document.removeEventListener('visibilitychange', this.kick)
    this.drop()
    this.pump.stop()
  }

  /** With a key, the command is sent again on each new connection until `confirm(key)`. */
  send(command: BrowserCommand, key?: string): boolean {
    if (key !== undefined) {
      if (this.unconfirmed.size >= MOST_UNCONFIRMED && !this.unconfirmed.has(key)) return false
      this.unconfirmed.set(key, command)
    }
    return this.write(command) || key !== undefined
  }

  confirm(key: string): void {
    this.unconfirmed.delete(key)
  }

  /** Ask for everything again: what we have does not fit what comes. */
  resync(): void {
    this.drop()
    this.connect()
  }

  private write(command: BrowserCommand): boolean {
    if (this.socket?.readyState !== WebSocket.OPEN) return false
    this.socket.send(JSON.stringify(command))
    return true
  }

  private connect(): void {
    this.settings.onStatus(this.attempt === 0 ? 'connecting' : this.away())
    const socket = new WebSocket(this.settings.url)
    this.socket = socket
    let opened = false
    const tooSlow = setTimeout(() => socket.close(), OPEN_MS)
    socket.onopen = () => {
      clearTimeout(tooSlow)
      opened = true
      this.opened()
    }
    socket.onmessage = ({ data }) => this.heard(String(data))
    socket.onclose = ({ code }) => {
      clearTimeout(tooSlow)
      if (socket === this.socket) void this.lost(code, opened)
    }
  }

  private opened(): void {
    this.write({ type: 'resume', ...this.settings.resumePoint() })
    for (const command of this.unconfirmed.values()) this.write(command)
    this.heardAt = Date.now()
    this.beat = setInterval(this.beatOnce, PING_MS)
    this.settings.onStatus('online')
  }

  private heard(data: string): void {
    this.heardAt = Date.now()
    this.attempt = 0
    this.expected = false
    const frame = decode(data)
    if (frame && frame.type !== 'pong') this.pump.push(frame)
  }

  private readonly beatOnce = (): void => {
    if (Date.now() - this.heardAt > SILENCE_MS) this.resync()
    else this.write({ type: 'ping' })
  }

  private async lost(code: number, opened: boolean): Promise<void> {
    this.pump.flush()
    this.drop()
    if (this.closed) return
    this.expected ||= code === RESTARTING || (this.settings.restarting?.() ?? false)
    this.settings.onStatus(navigator.onLine ? this.away() : 'offline')
    // A handshake that is refused shows no code to a page, so it asks over HTTP what is wrong.
    const refused = code === SIGNED_OUT || code === NOT_FOUND || !opened
    const verdict = refused ? await this.settings.probe() : 'fine'
    if (this.closed || this.socket) return
    if (verdict === 'signed-out' || verdict === 'gone') return this.settings.onStatus(verdict)
    const hurry = this.attempt + (this.expected ? CALM : 0)
    this.retry = setTimeout(() => this.again(), backoff(hurry, this.settings.random))
    this.attempt += 1
  }

  private away(): SocketStatus {
    return this.expected ? 'restarting' : 'reconnecting'
  }

  private again(): void {
    this.retry = null
    if (!this.closed) this.connect()
  }

  /** The network or the person came back: no reason to sit the delay out. */
  readonly kick = (): void => {
    if (this.closed || document.visibilityState === 'hidden') return
    if (this.write({ type: 'ping' })) return this.settings.onStatus('online')
    if (this.socket) return
    if (this.retry) clearTimeout(this.retry)
    this.again()
  }

  private readonly wentOffline = (): void => this.settings.onStatus('offline')

  private drop(): void {
    if (this.retry) clearTimeout(this.retry)
    if (this.beat) clearInterval(this.beat)
    this.retry = this.beat = null
    const socket = this.socket
    this.socket = null
    socket?.close()
  }
}

/** What is no frame is dropped; the hole that it leaves in `seq` is seen where frames are applied. */
function decode(data: string): ServerFrame | null {
  try {
    return parseEvents<ServerFrame>(data)
  } catch {
    return null
  }
}

export function streamUrl(sessionId: string, place: Location = location): string {
  const scheme = place.protocol === 'https:' ? 'wss' : 'ws'
  return `${scheme}://${place.host}/api/v1/sessions/${encodeURIComponent(sessionId)}/stream`
}
