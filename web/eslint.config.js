// What oxlint does not know: which folder may import which, and that no sentence is written in code.
import i18next from 'eslint-plugin-i18next'
import reactHooks from 'eslint-plugin-react-hooks'
import tseslint from 'typescript-eslint'

// Each folder may import those named here, and itself. `app` may import all of them.
const MAY_IMPORT = {
  protocol: [],
  i18n: [],
  connection: ['protocol'],
  settings: ['i18n'],
  ui: ['i18n', 'settings'],
  sessions: ['protocol', 'i18n', 'connection', 'settings', 'ui'],
  admin: ['protocol', 'i18n', 'connection', 'settings', 'ui'],
  permissions: ['protocol', 'i18n', 'settings', 'ui'],
  files: ['protocol', 'i18n', 'connection', 'settings', 'ui'],
  checkpoints: ['protocol', 'i18n', 'connection', 'settings', 'ui'],
  chat: [
    'protocol',
    'i18n',
    'connection',
    'settings',
    'ui',
    'permissions',
    'sessions',
    'files',
    'checkpoints',
  ],
}
const FOLDERS = [...Object.keys(MAY_IMPORT), 'app', 'testing']

const zones = Object.entries(MAY_IMPORT).map(([folder, allowed]) => {
  const forbidden = FOLDERS.filter((other) => other !== folder && !allowed.includes(other))
  return {
    files: [`src/${folder}/**/*.{ts,tsx}`],
    ignores: ['**/*.test.{ts,tsx}'],
    rules: {
      'no-restricted-imports': [
        'error',
        {
          patterns: [
            {
              group: forbidden.map((other) => `@/${other}/**`),
              message: `${folder} stands below it: imports point one way.`,
            },
            {
              regex: `^\\.\\./(\\.\\./)*(${FOLDERS.join('|')})/`,
              message: 'Another folder is imported as @/folder/…, so that its direction is seen.',
            },
          ],
        },
      ],
    },
  }
})

export default tseslint.config(
  { ignores: ['dist', 'src/protocol/chat.generated.ts'] },
  ...tseslint.configs.strict,
  reactHooks.configs.flat['recommended-latest'],
  ...zones,
  {
    files: ['src/**/*.tsx'],
    ignores: ['src/**/*.test.tsx'],
    plugins: { i18next },
    rules: { 'i18next/no-literal-string': ['error', { mode: 'jsx-text-only' }] },
  },
  {
    rules: {
      '@typescript-eslint/no-non-null-assertion': 'error',
      '@typescript-eslint/no-unused-vars': [
        'error',
        { varsIgnorePattern: '^_', argsIgnorePattern: '^_' },
      ],
      'max-lines': ['error', { max: 400 }],
      'max-lines-per-function': ['error', { max: 59, skipBlankLines: true, skipComments: true }],
    },
  },
  { files: ['**/*.test.{ts,tsx}'], rules: { 'max-lines-per-function': 'off' } },
)
