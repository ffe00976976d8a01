import { useMutation, useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'
import { useTranslation } from 'react-i18next'
import { useApi } from '@/connection/account-context'
import { ProblemAnswer } from '@/connection/api'
import { resizePool, type PoolView } from '@/connection/resources'
import { Button } from '@/ui/Button'

const LARGEST = 1000

/** How many are kept ready, and how many there may be: changed while it runs. */
export function PoolSizes({ pool, canEdit }: { pool: PoolView; canEdit: boolean }) {
  const { t } = useTranslation()
  const api = useApi()
  const client = useQueryClient()
  const [min, setMin] = useState(String(pool.min))
  const [max, setMax] = useState(String(pool.max))
  const resize = useMutation({
    mutationFn: () => resizePool(api, pool.profile, { min: Number(min), max: Number(max) }),
    onSuccess: () => client.invalidateQueries({ queryKey: ['pools'] }),
  })
  const changed = min !== String(pool.min) || max !== String(pool.max)
  const fits = valid(min) && valid(max) && Number(min) <= Number(max)
  return (
    <form
      className="pool-sizes"
      aria-label={t('admin.sizes', { profile: pool.profile })}
      onSubmit={(event) => {
        event.preventDefault()
        if (changed && fits) resize.mutate()
      }}
    >
      <SizeField label={t('admin.min')} value={min} onChange={setMin} readOnly={!canEdit} />
      <SizeField label={t('admin.max')} value={max} onChange={setMax} readOnly={!canEdit} />
      {canEdit ? (
        <Button type="submit" disabled={!changed || !fits || resize.isPending}>
          {t('admin.apply')}
        </Button>
      ) : null}
      <p className="pool-problem" role="alert">
        {changed && !fits ? t('admin.sizesWrong') : problemOf(resize.error)}
      </p>
    </form>
  )
}

const valid = (text: string) => /^\d{1,4}$/.test(text) && Number(text) <= LARGEST

const problemOf = (error: Error | null) =>
  error instanceof ProblemAnswer ? `${error.problem.title} ${error.problem.detail ?? ''}` : ''

interface SizeProps {
  label: string
  value: string
  onChange: (value: string) => void
  readOnly: boolean
}

function SizeField({ label, value, onChange, readOnly }: SizeProps) {
  return (
    <label className="pool-size">
      <span>{label}</span>
      <input
        className="input mono"
        inputMode="numeric"
        size={4}
        value={value}
        readOnly={readOnly}
        onChange={(event) => onChange(event.target.value)}
      />
    </label>
  )
}
