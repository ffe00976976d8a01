/** The highlighter in its worker; started when the first code block asks. */
import workerUrl from './highlight.worker?worker&url'
import type { Highlighter, Lines } from './highlight'

/** Trusted Types: the page's only policy, and it knows one address. */
const POLICY = 'casemate-worker'

interface TrustedTypes {
  createPolicy(
    name: string,
    rules: { createScriptURL: (url: string) => string },
  ): {
    createScriptURL(url: string): string
  }
}

export interface HighlightRequest {
  id: number
  text: string
  language: string
}

export interface HighlightAnswer {
  id: number
  lines: Lines | null
}

export function createWorkerHighlighter(): Highlighter {
  const waiting = new Map<number, (lines: Lines | null) => void>()
  let worker: Worker | null = null
  let last = 0

  function start(): Worker {
    const started = new Worker(trusted(workerUrl), { type: 'module' })
    started.onmessage = ({ data }: MessageEvent<HighlightAnswer>) => {
      waiting.get(data.id)?.(data.lines)
      waiting.delete(data.id)
    }
    started.onerror = () => {
      for (const settle of waiting.values()) settle(null)
      waiting.clear()
    }
    return started
  }

  return {
    highlight(text, language) {
      worker ??= start()
      last += 1
      const request: HighlightRequest = { id: last, text, language }
      return new Promise((resolve) => {
        waiting.set(request.id, resolve)
        worker?.postMessage(request)
      })
    },
  }
}

function trusted(url: string): string {
  const { trustedTypes } = globalThis as { trustedTypes?: TrustedTypes }
  const policy = trustedTypes?.createPolicy(POLICY, {
    createScriptURL: (asked) => (asked === workerUrl ? asked : ''),
  })
  return policy?.createScriptURL(url) ?? url
}
