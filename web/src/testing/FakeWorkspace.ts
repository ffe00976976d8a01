/** A workspace in memory, as the API would answer for it. */
import { ProblemAnswer } from '@/connection/api'
import type { Sending } from '@/connection/sending'
import type { FileEntry, FileList, Workspace } from '@/files/workspace'
import { AT } from './wire'

const EXISTS = { tag: 'file_exists', title: 'There is already a file of that name.', status: 409 }

export class FakeWorkspace implements Workspace {
  readonly files: Map<string, string>
  /** Of what is no file and no directory. */
  readonly links = new Set<string>()
  failure: Error | null = null
  truncated = false
  omitted = 0
  /** Uploads stay on their way until `release`. */
  hold = false
  private held: (() => void)[] = []

  constructor(files: Record<string, string> = {}) {
    this.files = new Map(Object.entries(files))
  }

  paths(): string[] {
    return [...this.files.keys()]
  }

  release(): void {
    this.hold = false
    for (const go of this.held.splice(0)) go()
  }

  async list(path: string): Promise<FileList> {
    if (this.failure) throw this.failure
    const start = path === '' ? '' : `${path}/`
    const names = new Map<string, FileEntry>()
    for (const [file, content] of this.files) {
      if (!file.startsWith(start)) continue
      const [name = '', ...rest] = file.slice(start.length).split('/')
      const kind = rest.length > 0 ? 'directory' : this.links.has(file) ? 'symlink' : 'file'
      const size = kind === 'file' ? content.length : 0
      names.set(name, { name, path: start + name, kind, size, modified_at: AT })
    }
    const { truncated, omitted } = this
    return { path, entries: [...names.values()], truncated, omitted }
  }

  async put(path: string, file: Blob, how: Sending & { overwrite: boolean }): Promise<void> {
    how.onProgress?.(file.size / 2)
    if (this.hold) await this.released(how.signal)
    if (how.signal?.aborted) throw new DOMException('Called off.', 'AbortError')
    if (this.failure) throw this.failure
    if (this.files.has(path) && !how.overwrite) throw new ProblemAnswer(EXISTS)
    this.files.set(path, await file.text())
  }

  contentUrl(path: string): string {
    return `/content?path=${path}`
  }

  archiveUrl(path: string): string {
    return `/archive?path=${path}`
  }

  private released(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      this.held.push(resolve)
      signal?.addEventListener('abort', () => resolve())
    })
  }
}
