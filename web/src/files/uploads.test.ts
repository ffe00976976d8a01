import { describe, expect, it, vi } from 'vitest'
import { ProblemAnswer, Unreachable } from '@/connection/api'
import { FakeWorkspace } from '@/testing/FakeWorkspace'
import { createUploads, MOST_WAITING } from './uploads'

const file = (name: string, content = 'abc') => new File([content], name)
const phases = (uploads: ReturnType<typeof createUploads>) =>
  uploads.getState().uploads.map(({ name, phase }) => `${name} ${phase}`)

describe('files on their way into a workspace', () => {
  it('go one after the other, into the folder that was shown', async () => {
    const workspace = new FakeWorkspace()
    const uploads = createUploads(workspace)
    uploads.add([file('a.txt'), file('b.txt')], 'src')
    expect(phases(uploads)).toEqual(['a.txt sending', 'b.txt waiting'])
    await vi.waitFor(() => expect(uploads.getState()).toEqual({ uploads: [], done: 2 }))
    expect(workspace.paths()).toEqual(['src/a.txt', 'src/b.txt'])
  })

  it('replace what is there only where a person says so', async () => {
    const workspace = new FakeWorkspace({ 'a.txt': 'old' })
    const uploads = createUploads(workspace)
    uploads.add([file('a.txt', 'new'), file('b.txt')], '')
    await vi.waitFor(() => expect(uploads.getState().done).toBe(1))
    expect(phases(uploads)).toEqual(['a.txt exists'])
    expect(workspace.files.get('a.txt')).toBe('old')
    uploads.replace(uploads.getState().uploads[0]?.id ?? 0)
    await vi.waitFor(() => expect(uploads.getState().done).toBe(2))
    expect(workspace.files.get('a.txt')).toBe('new')
  })

  it('can be called off, before and while they are sent', async () => {
    const workspace = new FakeWorkspace()
    workspace.hold = true
    const uploads = createUploads(workspace)
    uploads.add([file('a.txt'), file('b.txt'), file('c.txt')], '')
    const [first, second] = uploads.getState().uploads
    uploads.dismiss(second?.id ?? 0)
    uploads.dismiss(first?.id ?? 0)
    await vi.waitFor(() => expect(phases(uploads)).toEqual(['c.txt sending']))
    workspace.release()
    await vi.waitFor(() => expect(uploads.getState().done).toBe(1))
    expect(workspace.paths()).toEqual(['c.txt'])
  })

  it('that are refused say why, and stay until they are taken away', async () => {
    const workspace = new FakeWorkspace()
    const tooLarge = { tag: 'file_too_large', title: 'Too large.', status: 413 }
    workspace.failure = new ProblemAnswer(tooLarge)
    const uploads = createUploads(workspace)
    uploads.add([file('a.txt')], '')
    await vi.waitFor(() => expect(phases(uploads)).toEqual(['a.txt failed']))
    expect(uploads.getState().uploads[0]?.problem).toEqual(tooLarge)
    uploads.dismiss(uploads.getState().uploads[0]?.id ?? 0)
    expect(uploads.getState().uploads).toEqual([])
  })

  it('that find no server are told apart from those that are refused', async () => {
    const workspace = new FakeWorkspace()
    workspace.failure = new Unreachable('no')
    const uploads = createUploads(workspace)
    uploads.add([file('a.txt')], '')
    await vi.waitFor(() => expect(phases(uploads)).toEqual(['a.txt failed']))
    expect(uploads.getState().uploads[0]?.problem).toBeNull()
  })

  it('have names that a URL can carry, and are no more than anybody means to send', () => {
    const workspace = new FakeWorkspace()
    workspace.hold = true
    const uploads = createUploads(workspace)
    uploads.add(
      Array.from({ length: MOST_WAITING + 9 }, () => file('a\ud800.txt')),
      '',
    )
    expect(uploads.getState().uploads).toHaveLength(MOST_WAITING)
    expect(uploads.getState().uploads[0]?.path).toBe('a_.txt')
  })
})
