/** What was typed and not sent survives a reload, per session. */
const PREFIX = 'casemate-draft:'
const LONGEST = 200_000

export function readDraft(sessionId: string, storage: Storage = localStorage): string {
  return storage.getItem(PREFIX + sessionId) ?? ''
}

export function keepDraft(sessionId: string, text: string, storage: Storage = localStorage): void {
  if (text === '' || text.length > LONGEST) storage.removeItem(PREFIX + sessionId)
  else storage.setItem(PREFIX + sessionId, text)
}
