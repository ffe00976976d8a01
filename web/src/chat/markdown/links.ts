/** Which addresses a link may have, and when it must show where it leads. */
const SAFE = new Set(['https:', 'http:', 'mailto:'])

export function safeUrl(url: string): string {
  if (url.startsWith('#')) return url
  try {
    return SAFE.has(new URL(url).protocol) ? url : ''
  } catch {
    return '' // a path: it leads nowhere, for the files are in the sandbox
  }
}

/** The host, where the link's text does not name it, or names another. */
export function foreignHost(url: string, text: string): string {
  const host = hostOf(url)
  if (!host) return ''
  return hostOf(text) === host || text.trim().replace(/\/$/, '') === host ? '' : host
}

function hostOf(url: string): string {
  try {
    return new URL(url).host
  } catch {
    return ''
  }
}
