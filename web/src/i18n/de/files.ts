/** The files of a workspace. */
export const files = {
  title: 'Dateien',
  root: 'workspace',
  trail: 'Wo du bist',
  loading: 'Wird gelesen…',
  empty: 'Noch nichts hier.',
  hint: 'Dateien hierher ziehen, um sie hochzuladen.',
  dropHere: 'Loslassen, um sie in diesen Ordner hochzuladen.',
  waiting: 'Dateien gibt es, sobald es eine Sandbox gibt.',
  asleep: 'Die Dateien sind gesichert. Sie sind wieder hier, wenn die Sitzung wach ist.',
  gone: 'Die Dateien sind mit der Sandbox gegangen.',
  truncated: 'Hier ist mehr, als gezeigt wird. Frag Claude, oder lade den Ordner herunter.',
  omitted_one:
    '{{count}} weitere, deren Name verbirgt, was sie ist. Bitte Claude, sie umzubenennen.',
  omitted_other:
    '{{count}} weitere, deren Namen verbergen, was sie sind. Bitte Claude, sie umzubenennen.',
  reload: 'Noch einmal lesen',
  upload: 'Dateien hochladen',
  archive: 'Diesen Ordner als Zip-Datei herunterladen',
  archiveOf: 'Den Ordner {{name}} als Zip-Datei herunterladen',
  download: '{{name}} herunterladen',
  kind: { symlink: '(Verweis)', other: '(keine gewöhnliche Datei)' },
  uploads: 'Was hochgeladen wird',
  progress: 'Hochladen von {{name}}',
  callOff: 'Hochladen von {{name}} abbrechen',
  dismiss: '{{name}} aus dieser Liste nehmen',
  replace: 'Ersetzen',
}
