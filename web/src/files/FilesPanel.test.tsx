import { QueryClient, QueryClientProvider } from '@tanstack/react-query'
import { fireEvent, render, screen, within } from '@testing-library/react'
import userEvent from '@testing-library/user-event'
import { I18nextProvider } from 'react-i18next'
import { describe, expect, it } from 'vitest'
import { ProblemAnswer } from '@/connection/api'
import { createI18n } from '@/i18n/i18n'
import { FakeWorkspace } from '@/testing/FakeWorkspace'
import { FilesPanel, type FilesPanelProps } from './FilesPanel'
import { createUploads } from './uploads'
import { workspaceOf } from './workspace'

async function show(workspace: FakeWorkspace, change: Partial<FilesPanelProps> = {}) {
  const words = await createI18n('en')
  const uploads = createUploads(workspace)
  const client = new QueryClient()
  const props = { id: 's1', workspace, uploads, sandbox: 'there', version: '0', ...change } as const
  const tree = (now: FilesPanelProps) => (
    <I18nextProvider i18n={words}>
      <QueryClientProvider client={client}>
        <FilesPanel {...now} />
      </QueryClientProvider>
    </I18nextProvider>
  )
  const shown = render(tree(props))
  return (next: Partial<FilesPanelProps>) => shown.rerender(tree({ ...props, ...next }))
}

const entries = async () =>
  within(await screen.findByRole('list', { name: 'Files' })).queryAllByRole('listitem')

describe('the files of a workspace', () => {
  it('are listed, folders can be entered and left again', async () => {
    await show(new FakeWorkspace({ 'README.md': 'hello', 'src/main.py': 'x' }))
    expect(await entries()).toHaveLength(2)
    expect(screen.getByRole('link', { name: 'Download README.md' })).toHaveAttribute(
      'href',
      '/content?path=README.md',
    )
    expect(
      screen.getByRole('link', { name: 'Download the folder src as a zip file' }),
    ).toHaveAttribute('href', '/archive?path=src')
    await userEvent.click(screen.getByRole('button', { name: 'src' }))
    expect(await screen.findByText('main.py')).toBeVisible()
    expect(screen.queryByText('README.md')).toBeNull()
    await userEvent.click(screen.getByRole('button', { name: 'workspace' }))
    expect(await screen.findByText('README.md')).toBeVisible()
  })

  it('have names in which nothing hides', async () => {
    await show(new FakeWorkspace({ 'a\u202etxt.exe\n': 'x' }))
    const [line] = await entries()
    expect(line).toHaveTextContent(/⟨U\+202E⟩txt\.exe.*⟨U\+000A⟩/)
    expect(within(line as HTMLElement).getByRole('link')).toHaveAccessibleName(/⟨U\+202E⟩/)
  })

  it('that are links are named as such and not downloaded', async () => {
    const workspace = new FakeWorkspace({ passwd: '' })
    workspace.links.add('passwd')
    await show(workspace)
    expect(await screen.findByText('(link)')).toBeVisible()
    expect(screen.queryByRole('link', { name: /Download passwd/ })).toBeNull()
  })

  it('are said to be none, to be more, or to be hidden', async () => {
    const workspace = new FakeWorkspace()
    const update = await show(workspace)
    expect(await screen.findByText('Nothing here yet.')).toBeVisible()
    workspace.truncated = true
    workspace.omitted = 2
    update({ version: '1' })
    expect(await screen.findByText(/There is more here/)).toBeVisible()
    expect(screen.getByText(/^2 more, whose names hide/)).toBeVisible()
  })

  it('that cannot be read are said to be so, and can be read again', async () => {
    const workspace = new FakeWorkspace({ 'a.txt': '' })
    const detail = 'Try again.'
    workspace.failure = new ProblemAnswer({ tag: 'x', title: 'It did not answer.', detail })
    await show(workspace)
    expect(await screen.findByRole('alert')).toHaveTextContent('It did not answer. Try again.')
    workspace.failure = null
    await userEvent.click(screen.getByRole('button', { name: 'Read again' }))
    expect(await screen.findByText('a.txt')).toBeVisible()
  })

  it('are not asked for where there is no sandbox', async () => {
    const workspace = new FakeWorkspace({ 'a.txt': '' })
    const update = await show(workspace, { sandbox: 'gone' })
    expect(screen.getByText('The files went with the sandbox.')).toBeVisible()
    expect(screen.queryByRole('button')).toBeNull()
    update({ sandbox: 'waiting' })
    expect(screen.getByText(/as soon as there is a sandbox/)).toBeVisible()
  })

  it('are uploaded by button, with their progress, and can be called off', async () => {
    const workspace = new FakeWorkspace()
    workspace.hold = true
    await show(workspace)
    await userEvent.upload(
      screen.getByLabelText('Upload files', { selector: 'input' }),
      new File(['0123456789'], 'ten.txt'),
    )
    const bar = screen.getByRole('progressbar', { name: 'Upload of ten.txt' })
    expect(bar).toHaveAttribute('value', '5')
    await userEvent.click(screen.getByRole('button', { name: 'Stop the upload of ten.txt' }))
    expect(screen.queryByRole('progressbar')).toBeNull()
    expect(workspace.paths()).toEqual([])
  })

  it('are uploaded by dropping them, into the folder that is shown', async () => {
    const workspace = new FakeWorkspace({ 'src/main.py': 'x' })
    await show(workspace)
    await userEvent.click(await screen.findByRole('button', { name: 'src' }))
    await screen.findByText('main.py')
    const files = [new File(['y'], 'other.py')]
    fireEvent.drop(screen.getByText('Drop files here to upload them.'), {
      dataTransfer: { types: ['Files'], files },
    })
    await expect.poll(async () => (await entries()).length).toBe(2)
    expect(workspace.paths()).toContain('src/other.py')
  })

  it('that exist are replaced only when a person says so', async () => {
    const workspace = new FakeWorkspace({ 'a.txt': 'old' })
    await show(workspace)
    await userEvent.upload(
      screen.getByLabelText('Upload files', { selector: 'input' }),
      new File(['new'], 'a.txt'),
    )
    expect(await screen.findByRole('alert')).toHaveTextContent('There is already a file')
    expect(workspace.files.get('a.txt')).toBe('old')
    await userEvent.click(screen.getByRole('button', { name: 'Replace it' }))
    await expect.poll(() => workspace.files.get('a.txt')).toBe('new')
  })
})

it('the API is asked with paths that are encoded', () => {
  const workspace = workspaceOf(
    { ask: async () => undefined as never, refresh: async () => true },
    's/1',
  )
  expect(workspace.contentUrl('a b/&c=?.txt')).toBe(
    '/api/v1/sessions/s%2F1/files/content?path=a%20b%2F%26c%3D%3F.txt',
  )
  expect(workspace.archiveUrl('')).toBe('/api/v1/sessions/s%2F1/files/archive?path=')
})
