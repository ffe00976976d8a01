/** Figures as people read them: short, and of one width, so that they line up. */
const MINUTE = 60
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

export function money(usd: number): string {
  if (usd === 0) return '$0'
  if (usd < 0.01) return '<$0.01'
  return `$${usd.toFixed(2)}`
}

export function clock(ms: number): string {
  const seconds = Math.round(ms / 1000)
  if (seconds >= HOUR) {
    return `${Math.floor(seconds / HOUR)}:${two(Math.floor((seconds % HOUR) / MINUTE))}:${two(seconds % MINUTE)}`
  }
  return `${Math.floor(seconds / MINUTE)}:${two(seconds % MINUTE)}`
}

export function brief(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`
  if (ms < 10_000) return `${(ms / 1000).toFixed(1)} s`
  return clock(ms)
}

export function age(seconds: number): string {
  if (seconds < MINUTE) return `${Math.floor(seconds)}s`
  if (seconds < HOUR) return `${Math.floor(seconds / MINUTE)}m`
  if (seconds < DAY) return `${Math.floor(seconds / HOUR)}h`
  return `${Math.floor(seconds / DAY)}d`
}

export function count(n: number): string {
  if (n < 1000) return String(n)
  if (n < 10_000) return `${(n / 1000).toFixed(1)}k`
  if (n < 1_000_000) return `${Math.round(n / 1000)}k`
  return `${(n / 1_000_000).toFixed(1)}M`
}

export function bytes(n: number): string {
  if (n < 1024) return `${n} B`
  const mib = n / (1 << 20)
  if (mib < 1) return `${Math.max(1, Math.round(n / 1024))} KiB`
  if (mib < 10) return `${mib.toFixed(1)} MiB`
  return mib < 1024 ? `${Math.round(mib)} MiB` : `${(mib / 1024).toFixed(1)} GiB`
}

/** A moment as people name it: the time, and the day where that is another one. */
export function dayTime(at: string, region: string, now: Date = new Date()): string {
  const moment = new Date(at)
  const time = { hour: '2-digit', minute: '2-digit' } as const
  if (moment.toDateString() === now.toDateString()) return moment.toLocaleTimeString(region, time)
  return moment.toLocaleString(region, { day: 'numeric', month: 'short', ...time })
}

const two = (n: number) => String(n).padStart(2, '0')
