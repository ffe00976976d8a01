/** What happened to a sandbox, in one or two sentences. */
import type { TFunction } from 'i18next'
import { age, dayTime } from '@/ui/format'
import { own } from '@/ui/own'
import type { StayRow, WarningRow } from './transcript/shape'

/** For these it slept because nobody needed it: that is nothing to explain. */
const QUIET_SLEEPS: ReadonlySet<string> = new Set(['idle', 'asked', 'host_memory'])

export function wordsOfStay(row: StayRow, t: TFunction, region: string): string {
  const { cause, phase, sentence } = row
  switch (cause) {
    case 'lost':
      // What stops it begins with the last reason itself.
      if (phase === 'stopped' && sentence && row.stopped.includes(sentence)) return row.stopped
      return joined(sentence || t('stays.lost'), endOfLoss(row, t))
    case 'slept':
      return wordsOfSleep(row, t)
    case 'limit':
    case 'memory':
      return joined(sentence, phase === 'back' ? t('stays.fresh') : '')
    case 'exchanged':
      return t('stays.exchanged')
    case 'went_back':
      return row.checkpointAt
        ? t('stays.wentBack', { time: dayTime(row.checkpointAt, region) })
        : t('stays.wentBackPlain')
  }
}

function endOfLoss({ phase, stopped }: StayRow, t: TFunction): string {
  switch (phase) {
    case 'gone':
      return t('stays.restoring')
    case 'back':
      return t('stays.restored')
    case 'resting':
      return t('stays.fellAsleep')
    default:
      return stopped
  }
}

function wordsOfSleep({ reason, sentence, phase, at, backAt }: StayRow, t: TFunction): string {
  const why = QUIET_SLEEPS.has(reason) ? '' : sentence
  if (phase !== 'back') return joined(why, t('stays.fellAsleep'))
  const seconds = Math.max(1, (Date.parse(backAt) - Date.parse(at)) / 1000)
  return joined(why, why ? t('stays.restored') : t('stays.slept', { time: age(seconds) }))
}

const joined = (...sentences: string[]) => sentences.filter(Boolean).join(' ')

const SERVER_WHY = {
  not_started: 'stays.serverWhy.not_started',
  died: 'stays.serverWhy.died',
  too_slow: 'stays.serverWhy.too_slow',
  broken_off: 'stays.serverWhy.broken_off',
  too_much: 'stays.serverWhy.too_much',
} as const

export function wordsOfWarning({ topic, tag, server, sentence }: WarningRow, t: TFunction): string {
  switch (topic) {
    case 'limit':
      return sentence
    case 'checkpoint':
      return joined(sentence, t('stays.notKept'))
    case 'server': {
      const why = own(SERVER_WHY, tag as keyof typeof SERVER_WHY)
      return joined(t('stays.server', { server }), why ? t(why) : '')
    }
  }
}
