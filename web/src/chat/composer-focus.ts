/** Where the focus goes when what had it is gone. */
export const COMPOSER_ID = 'composer'

export const focusComposer = () => document.getElementById(COMPOSER_ID)?.focus()
