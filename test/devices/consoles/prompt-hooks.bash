# A prompt that is set anew before each command, with colours.
PROMPT_COMMAND=('PS1="\[\e[1;32m\]board \t\[\e[0m\] $ "' 'printf "\e]0;title\a"')
