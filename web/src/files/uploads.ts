/** Files on their way into a workspace: one after the other, each with its progress and its end. */
import { createStore, type StoreApi } from 'zustand/vanilla'
import { ProblemAnswer } from '@/connection/api'
import { isCalledOff } from '@/connection/sending'
import type { Problem } from '@/protocol/chat.generated'
import { joined, sendable, type Workspace } from './workspace'

export interface Upload {
  readonly id: number
  readonly name: string
  readonly path: string
  readonly size: number
  readonly sent: number
  /** `exists`: something of that name is there, and a person decides. */
  readonly phase: 'waiting' | 'sending' | 'exists' | 'failed'
  /** Null where the server did not answer at all. */
  readonly problem: Problem | null
}

export interface Uploads extends StoreApi<UploadsState> {
  add(files: Iterable<File>, directory: string): void
  replace(id: number): void
  /** Calls it off, or takes it from the list. */
  dismiss(id: number): void
}

interface UploadsState {
  /** Those that are not done; what is done shows in the directory. */
  readonly uploads: readonly Upload[]
  readonly done: number
}

/** Waiting ones hold no memory but their names; beyond this a drop was a mistake. */
export const MOST_WAITING = 500

export function createUploads(workspace: Workspace): Uploads {
  const store = createStore<UploadsState>(() => ({ uploads: [], done: 0 }))
  const files = new Map<number, File>()
  const overwriting = new Set<number>()
  let calling: { id: number; off: AbortController } | null = null
  let last = 0

  const change = (id: number, to: Partial<Upload>) =>
    store.setState(({ uploads }) => ({
      uploads: uploads.map((upload) => (upload.id === id ? { ...upload, ...to } : upload)),
    }))

  function remove(id: number): void {
    files.delete(id)
    overwriting.delete(id)
    store.setState(({ uploads }) => ({ uploads: uploads.filter((upload) => upload.id !== id) }))
  }

  async function next(): Promise<void> {
    const upload = store.getState().uploads.find(({ phase }) => phase === 'waiting')
    const file = upload ? files.get(upload.id) : undefined
    if (calling || !upload || !file) return
    calling = { id: upload.id, off: new AbortController() }
    change(upload.id, { phase: 'sending', sent: 0, problem: null })
    await send(upload, file, calling.off.signal)
    calling = null
    await next()
  }

  async function send({ id, path }: Upload, file: File, signal: AbortSignal): Promise<void> {
    try {
      const onProgress = (sent: number) => change(id, { sent })
      await workspace.put(path, file, { overwrite: overwriting.has(id), onProgress, signal })
      remove(id)
      store.setState(({ done }) => ({ done: done + 1 }))
    } catch (error) {
      if (!isCalledOff(error)) change(id, endOf(error))
    }
  }

  return {
    ...store,
    add(added, directory) {
      const room = MOST_WAITING - store.getState().uploads.length
      const fresh = [...added].slice(0, Math.max(0, room)).map((file): Upload => {
        last += 1
        files.set(last, file)
        const shared = { id: last, name: file.name, size: file.size, sent: 0, problem: null }
        return { ...shared, path: joined(directory, sendable(file.name)), phase: 'waiting' }
      })
      store.setState(({ uploads }) => ({ uploads: [...uploads, ...fresh] }))
      void next()
    },
    replace(id) {
      overwriting.add(id)
      change(id, { phase: 'waiting' })
      void next()
    },
    dismiss(id) {
      if (calling?.id === id) calling.off.abort()
      remove(id)
    },
  }
}

function endOf(error: unknown): Partial<Upload> {
  const problem = error instanceof ProblemAnswer ? error.problem : null
  return { phase: problem?.tag === 'file_exists' ? 'exists' : 'failed', problem }
}
