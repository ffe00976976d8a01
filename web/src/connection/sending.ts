/** A file on its way to the server, as it is: `fetch` cannot tell how much of it has left. */
import { API, csrfToken, problemOf, Unreachable, type Api } from './api'

export interface Sending {
  onProgress?: (sent: number) => void
  signal?: AbortSignal
}

/** Raises ProblemAnswer, Unreachable, and an AbortError where it was called off. */
export async function sendFile(
  api: Api,
  path: string,
  file: Blob,
  sending: Sending = {},
): Promise<void> {
  let answer = await put(path, file, sending)
  if (answer.status === 401 && (await api.refresh())) answer = await put(path, file, sending)
  if (!answer.ok) throw await problemOf(answer)
}

export const isCalledOff = (error: unknown): boolean =>
  error instanceof DOMException && error.name === 'AbortError'

function put(path: string, file: Blob, { onProgress, signal }: Sending): Promise<Response> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest()
    const calledOff = () => reject(new DOMException('Called off.', 'AbortError'))
    if (signal?.aborted) return calledOff()
    request.open('PUT', `${API}${path}`)
    request.setRequestHeader('Accept', 'application/json')
    request.setRequestHeader('Content-Type', 'application/octet-stream')
    const token = csrfToken()
    if (token) request.setRequestHeader('X-CSRF-Token', token)
    request.upload.onprogress = ({ loaded }) => onProgress?.(loaded)
    request.onload = () => resolve(responseOf(request))
    request.onerror = () => reject(new Unreachable('The server does not answer.'))
    request.onabort = calledOff
    signal?.addEventListener('abort', () => request.abort(), { once: true })
    request.send(file)
  })
}

const BODILESS = new Set([204, 205, 304])

const responseOf = ({ status, responseText }: XMLHttpRequest): Response =>
  new Response(BODILESS.has(status) ? null : responseText, { status })
