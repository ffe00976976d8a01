/** Puts the caret behind the last word that was written, however deep in a list that stands. */

interface Node {
  type: string
  tagName?: string
  value?: string
  properties?: Record<string, unknown>
  children?: Node[]
}

/** In these a word can end; in code and tables it cannot be followed, so the caret stands below. */
const HOLDS_WORDS = new Set([
  'p',
  'ul',
  'ol',
  'li',
  'blockquote',
  'h1',
  'h2',
  'h3',
  'h4',
  'h5',
  'h6',
])

/** For react-markdown, as one of its rehype plugins. */
export const rehypeCaret = () => (tree: Node) => {
  const place = endOf(tree)
  const last = place.children?.at(-1)
  if (last?.type === 'text' && tree !== place) last.value = last.value?.trimEnd() ?? ''
  place.children?.push(caret())
}

function endOf(node: Node): Node {
  const last = node.children?.findLast((child) => !isBlank(child))
  return last?.type === 'element' && HOLDS_WORDS.has(last.tagName ?? '') ? endOf(last) : node
}

const isBlank = (node: Node): boolean => node.type === 'text' && node.value?.trim() === ''

const caret = (): Node => ({
  type: 'element',
  tagName: 'span',
  properties: { className: ['caret'], ariaHidden: 'true' },
  children: [],
})
