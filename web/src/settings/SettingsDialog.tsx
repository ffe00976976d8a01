/** What a person prefers, and the keys that work everywhere. */
import { useTranslation } from 'react-i18next'
import { usePreferences, usePreferencesStore, type Preferences } from './preferences'
import './settings.css'

type Setting = 'theme' | 'density' | 'announcements' | 'locale'

const CHOICES: { [Key in Setting]: readonly Preferences[Key][] } = {
  theme: ['system', 'light', 'dark'],
  density: ['comfortable', 'compact'],
  announcements: ['boundaries', 'off'],
  locale: ['system', 'en', 'de'],
}

export function SettingsFields() {
  return (
    <div className="settings">
      {(Object.keys(CHOICES) as Setting[]).map((setting) => (
        <SettingField key={setting} setting={setting} />
      ))}
    </div>
  )
}

function SettingField({ setting }: { setting: Setting }) {
  const { t } = useTranslation()
  const preferences = usePreferencesStore()
  const value = usePreferences((now) => now[setting])
  return (
    <fieldset className="setting">
      <legend>{t(`settings.${setting}.label`)}</legend>
      <div className="segments">
        {CHOICES[setting].map((choice) => (
          <label key={choice} className="segment">
            <input
              type="radio"
              name={setting}
              className="sr-only"
              checked={value === choice}
              onChange={() => preferences.setState({ [setting]: choice })}
            />
            <span>{t(`settings.${setting}.${choice}` as 'settings.theme.system')}</span>
          </label>
        ))}
      </div>
    </fieldset>
  )
}

const KEYS = [
  'send',
  'newline',
  'stop',
  'dock',
  'landmark',
  'newSession',
  'sidebar',
  'help',
] as const

export function KeyTable() {
  const { t } = useTranslation()
  return (
    <table className="keys">
      <caption className="sr-only">{t('settings.keys')}</caption>
      <tbody>
        {KEYS.map((key) => (
          <tr key={key}>
            <th scope="row">{t(`settings.key.${key}.what`)}</th>
            <td>
              <kbd>{t(`settings.key.${key}.press`)}</kbd>
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  )
}
