/** Each pool as a rack: one cell per sandbox, with its state, age and version. */
import { useQuery } from '@tanstack/react-query'
import { useTranslation } from 'react-i18next'
import { useApi } from '@/connection/account-context'
import {
  listPools,
  type PoolMember,
  type PoolView,
  type SessionFigures,
} from '@/connection/resources'
import { age } from '@/ui/format'
import { Revealed } from '@/ui/Revealed'
import { StateShape, type Shape } from '@/ui/StateShape'
import { PoolSizes } from './PoolSizes'

const REFRESH_MS = 1_000

export function PoolsPanel({ canEdit }: { canEdit: boolean }) {
  const { t } = useTranslation()
  const api = useApi()
  const pools = useQuery({
    queryKey: ['pools'],
    queryFn: () => listPools(api),
    refetchInterval: REFRESH_MS,
  })
  return (
    <section aria-labelledby="pools">
      <h2 id="pools">{t('admin.pools')}</h2>
      {pools.isError ? (
        <p className="notice" data-tone="bad">
          {t('admin.poolsFailed')}
        </p>
      ) : null}
      {pools.data ? <Sessions figures={pools.data.sessions} /> : null}
      {pools.data?.pools.map((pool) => (
        <Pool key={pool.profile} pool={pool} canEdit={canEdit} />
      ))}
    </section>
  )
}

const OF_SESSIONS = ['awake', 'frozen', 'hibernated', 'adopted'] as const

/** Of all pools together: a session that hibernates is in none. */
function Sessions({ figures }: { figures: SessionFigures }) {
  const { t } = useTranslation()
  return (
    <dl className="pool-counters" aria-label={t('admin.sessions')}>
      {OF_SESSIONS.map((name) => (
        <div key={name}>
          <dt>{t(`admin.ofSessions.${name}`)}</dt>
          <dd className="mono">{figures[name]}</dd>
        </div>
      ))}
    </dl>
  )
}

const FIGURES = ['ready', 'starting', 'claimed', 'waiting'] as const
const FIGURE_SHAPES: Record<(typeof FIGURES)[number], Shape> = {
  ready: 'idle',
  starting: 'starting',
  claimed: 'running',
  waiting: 'waiting',
}

function Pool({ pool, canEdit }: { pool: PoolView; canEdit: boolean }) {
  const { t } = useTranslation()
  const counters = Object.entries(pool.counters)
  return (
    <article className="pool" aria-labelledby={`pool-${pool.profile}`}>
      <header className="pool-head">
        <h3 id={`pool-${pool.profile}`}>{pool.profile}</h3>
        <dl className="pool-figures">
          {FIGURES.map((figure) => (
            <div key={figure} data-figure={figure} data-none={pool[figure] === 0 || undefined}>
              <dt>
                <StateShape shape={FIGURE_SHAPES[figure]} /> {t(`admin.figure.${figure}`)}
              </dt>
              <dd className="mono">{pool[figure]}</dd>
            </div>
          ))}
        </dl>
        <PoolSizes key={`${pool.min}-${pool.max}`} pool={pool} canEdit={canEdit} />
      </header>
      <Rack pool={pool} />
      {pool.last_error ? (
        <p className="notice" data-tone="bad">
          <StateShape shape="failed" />
          <span>
            {t('admin.lastError')} <Revealed text={pool.last_error} as="prose" />
          </span>
        </p>
      ) : null}
      {counters.length > 0 ? (
        <dl className="pool-counters">
          {counters.map(([name, value]) => (
            <div key={name}>
              <dt>{name.replaceAll('_', ' ')}</dt>
              <dd className="mono">{value}</dd>
            </div>
          ))}
        </dl>
      ) : null}
    </article>
  )
}

const SHAPES: Record<string, Shape> = {
  ready: 'idle',
  starting: 'starting',
  claimed: 'running',
  failed: 'failed',
}

/** As many cells as the pool may have: what is not there yet is shown as room. */
function Rack({ pool }: { pool: PoolView }) {
  const { t } = useTranslation()
  const room = Math.max(0, Math.min(pool.max - pool.members.length, MOST_ROOM))
  return (
    // oxlint-disable-next-line jsx-a11y/no-redundant-roles -- Safari drops it with the bullets
    <ul role="list" className="rack" aria-label={t('admin.rack', { profile: pool.profile })}>
      {pool.members.map((member) => (
        <Cell key={member.sandbox_id} member={member} />
      ))}
      {Array.from({ length: room }, (_, index) => (
        // oxlint-disable-next-line react/no-array-index-key -- empty places have no name
        <li key={`room-${index}`} className="cell cell-room" aria-hidden="true" />
      ))}
    </ul>
  )
}

const MOST_ROOM = 48
const VERSION_LENGTH = 8

/** An image's digest says `sha256:` first, which tells nothing. */
const shortVersion = (version: string) => version.replace(/^sha256:/, '').slice(0, VERSION_LENGTH)

function Cell({ member }: { member: PoolMember }) {
  const { t } = useTranslation()
  const state = t(`admin.figure.${member.state}`, { defaultValue: member.state })
  return (
    <li className="cell" data-state={member.state} title={member.sandbox_id}>
      <span className="cell-state">
        <StateShape shape={SHAPES[member.state] ?? 'ended'} />
        {state}
      </span>
      <span className="cell-age mono">{age(member.age_seconds)}</span>
      <span className="cell-version mono">{shortVersion(member.version)}</span>
    </li>
  )
}
