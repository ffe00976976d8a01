/** One of several: a select with a sentence under each option. */
import { Check, ChevronDown } from 'lucide-react'
import {
  Button,
  ListBox,
  ListBoxItem,
  Popover,
  Select,
  SelectValue,
  Text,
} from 'react-aria-components'

export interface ChoiceOption {
  value: string
  label: string
  hint?: string
}

export interface ChoiceProps {
  label: string
  value: string
  options: readonly ChoiceOption[]
  onChoose: (value: string) => void
  disabled?: boolean
  bordered?: boolean
}

export function Choice({ label, value, options, onChoose, disabled, bordered }: ChoiceProps) {
  return (
    <Select
      className="choice"
      aria-label={label}
      selectedKey={value}
      isDisabled={disabled ?? false}
      onSelectionChange={(key) => onChoose(String(key))}
    >
      <Button className="choice-button" {...(bordered ? { 'data-bordered': '' } : {})}>
        <SelectValue className="choice-value">{({ selectedText }) => selectedText}</SelectValue>
        <ChevronDown size={14} aria-hidden="true" />
      </Button>
      <Popover className="popover">
        <ListBox className="menu" items={options}>
          {(option) => (
            <ListBoxItem id={option.value} textValue={option.label} className="menu-item">
              {({ isSelected }) => (
                <>
                  {isSelected ? <Check size={14} aria-hidden="true" /> : <span />}
                  <Text slot="label">{option.label}</Text>
                  {option.hint ? (
                    <Text slot="description" className="menu-hint">
                      {option.hint}
                    </Text>
                  ) : null}
                </>
              )}
            </ListBoxItem>
          )}
        </ListBox>
      </Popover>
    </Select>
  )
}
