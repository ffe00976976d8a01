/** What "always" would save: all of it shown, and each part for the person to pick. */
import { useTranslation } from 'react-i18next'
import { Revealed } from '@/ui/Revealed'
import type { Offer } from './rules'

export interface RulePickerProps {
  offers: readonly Offer[]
  picked: readonly number[]
  onPick: (picked: number[]) => void
}

export function RulePicker({ offers, picked, onPick }: RulePickerProps) {
  const { t } = useTranslation()
  const toggled = (position: number) =>
    picked.includes(position)
      ? picked.filter((other) => other !== position)
      : [...picked, position].toSorted((a, b) => a - b)
  return (
    <fieldset className="dock-rules">
      <legend>{t('permissions.rule')}</legend>
      <div className="dock-offers">
        {offers.map(({ position, text, exact }) => (
          <label key={position}>
            <input
              type="checkbox"
              checked={picked.includes(position)}
              onChange={() => onPick(toggled(position))}
            />
            {exact ? (
              <code>
                <Revealed text={text} as="exact" />
              </code>
            ) : (
              <span className="dock-mode">
                <Revealed text={text} />
              </span>
            )}
          </label>
        ))}
      </div>
    </fieldset>
  )
}
