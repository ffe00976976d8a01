/** Shiki with its JavaScript regular expressions: no WASM, and each grammar only when it is used. */
import { createHighlighterCore, type HighlighterCore, type ThemeRegistration } from 'shiki/core'
import { createJavaScriptRegexEngine } from 'shiki/engine/javascript'
import { own } from '@/ui/own'
import type { Lines } from './highlight'
import type { HighlightAnswer, HighlightRequest } from './worker-highlighter'

const GRAMMARS: Record<string, () => Promise<unknown>> = {
  bash: () => import('shiki/langs/bash.mjs'),
  c: () => import('shiki/langs/c.mjs'),
  cpp: () => import('shiki/langs/cpp.mjs'),
  css: () => import('shiki/langs/css.mjs'),
  diff: () => import('shiki/langs/diff.mjs'),
  docker: () => import('shiki/langs/docker.mjs'),
  go: () => import('shiki/langs/go.mjs'),
  html: () => import('shiki/langs/html.mjs'),
  java: () => import('shiki/langs/java.mjs'),
  javascript: () => import('shiki/langs/javascript.mjs'),
  json: () => import('shiki/langs/json.mjs'),
  jsx: () => import('shiki/langs/jsx.mjs'),
  markdown: () => import('shiki/langs/markdown.mjs'),
  python: () => import('shiki/langs/python.mjs'),
  ruby: () => import('shiki/langs/ruby.mjs'),
  rust: () => import('shiki/langs/rust.mjs'),
  sql: () => import('shiki/langs/sql.mjs'),
  toml: () => import('shiki/langs/toml.mjs'),
  tsx: () => import('shiki/langs/tsx.mjs'),
  typescript: () => import('shiki/langs/typescript.mjs'),
  yaml: () => import('shiki/langs/yaml.mjs'),
}

const ALIASES: Record<string, string> = {
  'c++': 'cpp',
  console: 'bash',
  dockerfile: 'docker',
  js: 'javascript',
  md: 'markdown',
  mjs: 'javascript',
  py: 'python',
  rb: 'ruby',
  rs: 'rust',
  sh: 'bash',
  shell: 'bash',
  ts: 'typescript',
  yml: 'yaml',
  zsh: 'bash',
}

/** The colours are only names here: the page's styles give them their light and dark values. */
const KINDS: Record<string, [string, string[]]> = {
  '#000001': ['tok-keyword', ['keyword', 'storage', 'keyword.operator.new']],
  '#000002': ['tok-string', ['string', 'markup.inserted', 'punctuation.definition.string']],
  '#000003': ['tok-number', ['constant', 'support.constant', 'markup.deleted']],
  '#000004': ['tok-function', ['entity.name.function', 'support.function', 'entity.name.tag']],
  '#000005': ['tok-comment', ['comment', 'punctuation.definition.comment']],
  '#000006': [
    'tok-type',
    ['entity.name.type', 'support.type', 'support.class', 'entity.name.class'],
  ],
  '#000007': ['tok-parameter', ['variable.parameter', 'entity.other.attribute-name']],
  '#000008': ['tok-punctuation', ['punctuation', 'keyword.operator']],
}

const THEME: ThemeRegistration = {
  name: 'ink',
  type: 'light',
  fg: '#000000',
  bg: '#ffffff',
  settings: Object.entries(KINDS).map(([foreground, [, scope]]) => ({
    scope,
    settings: { foreground },
  })),
}

let starting: Promise<HighlighterCore> | null = null

function highlighter(): Promise<HighlighterCore> {
  starting ??= createHighlighterCore({
    themes: [THEME],
    langs: [],
    engine: createJavaScriptRegexEngine({ forgiving: true }),
  })
  return starting
}

async function linesOf({ text, language }: HighlightRequest): Promise<Lines | null> {
  const name = own(ALIASES, language.toLowerCase()) ?? language.toLowerCase()
  const grammar = own(GRAMMARS, name)
  if (!grammar) return null
  const shiki = await highlighter()
  if (!shiki.getLoadedLanguages().includes(name)) {
    await shiki.loadLanguage(grammar() as Parameters<HighlighterCore['loadLanguage']>[0])
  }
  const { tokens } = shiki.codeToTokens(text, { lang: name, theme: 'ink' })
  return tokens.map((line) =>
    line.map((token) => ({
      text: token.content,
      kind: own(KINDS, (token.color ?? '').toLowerCase())?.[0] ?? '',
    })),
  )
}

globalThis.onmessage = ({ data }: MessageEvent<HighlightRequest>) => {
  const answer = (lines: Lines | null) => {
    const message: HighlightAnswer = { id: data.id, lines }
    globalThis.postMessage(message)
  }
  linesOf(data).then(answer, () => answer(null))
}
