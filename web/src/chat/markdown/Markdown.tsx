/** Claude's Markdown: no raw HTML, no remote images, links that say where they lead. */
import { memo, useState, type ComponentPropsWithoutRef } from 'react'
import ReactMarkdown, { type Components } from 'react-markdown'
import remarkGfm from 'remark-gfm'
import { useTranslation } from 'react-i18next'
import { Revealed } from '@/ui/Revealed'
import { closed, NOTHING, split } from './blocks'
import { rehypeCaret } from './caret'
import { CodeBlock } from './CodeBlock'
import { foreignHost, safeUrl } from './links'
import './markdown.css'

const PLUGINS = [remarkGfm]
const CARET = [rehypeCaret]
const NO_PLUGINS: [] = []

export interface MarkdownProps {
  text: string
  /** While the text is still being written. */
  open?: boolean
  /** Shows, while it is open, where it goes on. */
  caret?: boolean
}

export function Markdown({ text, open = false, caret = false }: MarkdownProps) {
  const [state, setState] = useState(NOTHING)
  const current = state.text === text ? state : split(state, text)
  if (current !== state) setState(current)
  const last = current.blocks.length - 1
  return (
    <div className="markdown">
      {keyed(current.blocks).map(({ block, start }, index) => {
        const growing = open && index === last
        return <Block key={start} text={growing ? closed(block) : block} caret={growing && caret} />
      })}
      {open && caret && last < 0 ? <span className="caret" aria-hidden="true" /> : null}
    </div>
  )
}

/** A block is named by where it begins: that does not change while text is appended. */
function keyed(blocks: readonly string[]): { block: string; start: number }[] {
  let end = 0
  return blocks.map((block) => {
    const start = end
    end += block.length
    return { block, start }
  })
}

const Block = memo(function Block({ text, caret }: { text: string; caret: boolean }) {
  return (
    <ReactMarkdown
      remarkPlugins={PLUGINS}
      rehypePlugins={caret ? CARET : NO_PLUGINS}
      skipHtml
      urlTransform={safeUrl}
      components={COMPONENTS}
    >
      {text}
    </ReactMarkdown>
  )
})

function Link({ href, children }: ComponentPropsWithoutRef<'a'>) {
  const { t } = useTranslation()
  if (!href) return <span>{children}</span>
  const host = foreignHost(href, typeof children === 'string' ? children : '')
  return (
    <a href={href} target="_blank" rel="noopener noreferrer nofollow">
      {children}
      {host ? <span className="link-host"> ({host})</span> : null}
      <span className="sr-only"> {t('chat.newTab')}</span>
    </a>
  )
}

/** Loading an image would tell its server what was read here: it is a link, for a person to follow. */
function RemoteImage({ src, alt }: ComponentPropsWithoutRef<'img'>) {
  const { t } = useTranslation()
  const href = typeof src === 'string' ? src : ''
  return <Link href={href}>{t('chat.image', { name: alt || href })}</Link>
}

function Table({ children }: ComponentPropsWithoutRef<'table'>) {
  const { t } = useTranslation()
  return (
    // oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- it scrolls, so keys must reach it
    <div className="markdown-table" role="group" aria-label={t('chat.table')} tabIndex={0}>
      <table>{children}</table>
    </div>
  )
}

const COMPONENTS: Components = {
  a: ({ node: _node, ...props }) => <Link {...props} />,
  img: ({ node: _node, ...props }) => <RemoteImage {...props} />,
  table: ({ node: _node, ...props }) => <Table {...props} />,
  pre: ({ children }) => <>{children}</>,
  code: ({ className, children }) => {
    const text = String(children ?? '')
    const language = /language-(\S+)/.exec(className ?? '')?.[1]
    const block = language !== undefined || text.includes('\n')
    return block ? (
      <CodeBlock text={text.replace(/\n$/, '')} language={language ?? ''} />
    ) : (
      <code className="inline-code">
        {typeof children === 'string' ? <Revealed text={children} /> : children}
      </code>
    )
  },
}
